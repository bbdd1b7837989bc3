"""Run lengths of compressed masks, against pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tgl_e2e.data.rle import area, run_lengths


@pytest.mark.parametrize("density", [0, 0.02, 0.5, 0.98, 1])
def test_runs_and_area_are_those_of_pycocotools(density):
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = (int(x) for x in rng.integers(1, 90, size=2))
        mask = (rng.random((height, width)) < density).repeat(3, axis=0)
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        runs = run_lengths(encoded["counts"].decode())
        pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, 3 * height).T
        assert (pixels == mask).all()
        rle = {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}
        assert area(rle, mask.shape) == mask.sum()
        assert area({**rle, "counts": runs.tolist()}, mask.shape) == mask.sum()


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "no RLE"),
        ({"size": [4, 5]}, "no RLE"),
        ({"size": [5, 4], "counts": "35<"}, r"size \[5, 4\] for a picture of \[4, 5\]"),
        ({"size": [4, 5], "counts": ""}, "empty"),
        ({"size": [4, 5], "counts": "35 "}, "no RLE has"),
        ({"size": [4, 5], "counts": "35ü"}, "no RLE has"),
        ({"size": [4, 5], "counts": "35P"}, "end within a number"),
        ({"size": [4, 5], "counts": "PPPPPPPP0"}, "no mask needs"),
        ({"size": [4, 5], "counts": "35"}, "do not cover 4 x 5"),
        ({"size": [4, 5], "counts": [3, 5, 13]}, "do not cover"),
        ({"size": [4, 5], "counts": [3, -5, 22]}, "do not cover"),
        ({"size": [4, 5], "counts": [3, "5"]}, "no whole numbers"),
    ],
)
def test_damage_is_named(rle, message):
    assert area({"size": [4, 5], "counts": "35<"}, (4, 5)) == 5
    with pytest.raises(ValueError, match=message):
        area(rle, (4, 5))
