"""A COCO-format set to be evaluated on: an expression for each instance that can be told apart."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tgl_e2e.data.base import ExpressionRecord, Frames, VideoDataset, VideoRecord, VisibleMoments
from tgl_e2e.data.camera import at_centres
from tgl_e2e.data.coco import CocoImage, read_coco
from tgl_e2e.data.faults import STRICT, Faults
from tgl_e2e.data.picture_expressions import draw_expression
from tgl_e2e.data.pictures import seen_in

SMALLEST = 0.01  # share of the image that an instance covers at least
TRIES = 60  # of expressions until one means this instance and no other
SIDE = 160  # at which it is looked at to find the words


@dataclass(frozen=True, slots=True)
class InstanceMask:
    """The mask of one instance of an image (a `MaskReader`)."""

    image: CocoImage
    number: int

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if not objects:
            return np.zeros(self.image.size, dtype=bool)
        return self.image.ids() == self.number

    def visible(self, obj: str) -> np.ndarray:
        return np.array([True])

    def appears(self, obj: str) -> bool:
        return True


def read_coco_expressions(
    root: str | Path, split: str, kind: str = "coco", faults: Faults = STRICT
) -> VideoDataset:
    """Every image as a video of one frame, with an expression per instance over 1 % of it that one
    of :mod:`~tgl_e2e.data.picture_expressions` means alone: the same at every reading.

    All images are opened for this, and the first fault ends it, whatever ``faults`` says."""
    videos = []
    for image in read_coco(root, split).images:
        expressions = tuple(_expressions(image))
        if expressions:
            frames = Frames(image.path.parent, [image.path.name], "")
            videos.append(VideoRecord(image.path.stem, frames, expressions))
    return VideoDataset(kind, Path(root), split, tuple(videos))


def _expressions(image: CocoImage):
    ids, picture = image.ids(), image.open()
    pixels = np.asarray(picture.resize((SIDE, SIDE)))
    seen = seen_in(image, at_centres(ids, (SIDE, SIDE)), ids, (0, 0, *picture.size), pixels)
    for one in seen:
        instance = image.instances[one.number - 1]
        if one.area < SMALLEST or one.crowd:
            continue
        rng = np.random.default_rng(zlib.crc32(f"{image.path.name} {instance.key}".encode()))
        for _ in range(TRIES):
            said = draw_expression(seen, (), 0.0, rng)
            if said is not None and said.numbers == (one.number,):
                masks = InstanceMask(image, one.number)
                moments = VisibleMoments(masks, (instance.key,))
                yield ExpressionRecord(instance.key, said.text, (instance.key,), moments, masks)
                break
