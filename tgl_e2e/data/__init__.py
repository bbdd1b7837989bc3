"""Data sets: what a video, an expression and its moments are, wherever they come from."""
