"""Time of our segmenter against SAM2's own video predictor."""
