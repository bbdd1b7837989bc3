"""Time of our segmenter against SAM2's own video predictor."""

BACKBONES = {
    "hiera-t": "sam2.1_hiera_t",
    "hiera-b": "sam2.1_hiera_b+",
    "hiera-l": "sam2.1_hiera_l",
    "tiny": "sam2.1_hiera_t",
}
