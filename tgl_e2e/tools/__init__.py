"""Commands around a checkpoint."""
