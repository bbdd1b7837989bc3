"""COCO's segmentations (run lengths and polygons), read without trust in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def run_lengths(counts: str) -> np.ndarray:
    """The runs that a compressed RLE stands for: background first, then by turns.

    Each number is written in groups of five bits, the lowest first, as characters from "0" on; bit
    six says that the number goes on, and the highest bit of its last group is its sign. From the
    fourth on, a number is the difference to the last but one (as in pycocotools).

    returns: (runs,) int64. Raises ValueError if it is no such string.
    """
    try:
        groups = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise ValueError("counts hold a character that no RLE has") from None
    if groups.size == 0:
        raise ValueError("counts are empty")
    if groups.min() < 0 or groups.max() > 63:
        raise ValueError("counts hold a character that no RLE has")
    last = groups & 32 == 0
    if not last[-1]:
        raise ValueError("counts end within a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 7:
        raise ValueError("counts hold a number that no mask needs")
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((groups & 31) << (5 * place), starts)
    runs -= np.where(groups[ends] & 16, 1 << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def area(rle: Any, size: tuple[int, int]) -> int:
    """The pixels of a mask that stands as COCO RLE in a file.

    size: (H, W) that it should have. Raises ValueError, in words, if it is no RLE of this size.
    """
    return int(_runs(rle, size)[1::2].sum())


def _runs(rle: Any, size: tuple[int, int]) -> np.ndarray:
    """(runs,) whole numbers, with the sum H * W."""
    if not isinstance(rle, dict) or not isinstance(rle.get("counts"), (str, list)):
        raise ValueError("no RLE with size and counts")
    if rle.get("size") != list(size):
        raise ValueError(f"size {rle.get('size')} for a picture of {list(size)} (height, width)")
    listed = isinstance(rle["counts"], list)
    runs = np.array(rle["counts"]) if listed else run_lengths(rle["counts"])
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise ValueError("counts are no whole numbers")
    pixels = size[0] * size[1]
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"its runs do not cover {size[0]} x {size[1]} pixels")
    return runs


def draw(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO's segmentation (polygons, or RLE with counts as list or str) as a mask.

    size: (H, W). Returns (H, W) bool. Raises ValueError if it is of no such form, or an RLE of
    another size.
    """
    if isinstance(segmentation, dict):
        # Not by pycocotools, which does not notice all damage, and may hang or crash.
        runs = _runs(segmentation, size)
        columns = np.repeat(np.arange(runs.size) % 2 == 1, runs).reshape(size[1], size[0])
        return np.ascontiguousarray(columns.T)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("a segmentation that is neither polygons nor RLE")
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(isinstance(x, (int, float)) for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon that is no list of three or more x, y")
        if not all(-size[0] - size[1] <= x <= 2 * (size[0] + size[1]) for x in polygon):
            raise ValueError("a polygon far outside the picture")  # or drawing takes all memory
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)
