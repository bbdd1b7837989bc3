"""Figures of whole evaluations: ``python -m tgl_e2e.evaluation.figures``."""
