"""Photographs with outlined instances, in COCO's format, and expressions about what they show.

To train on: clips of one crop, or of a moving camera's. The expression is drawn after the crop, so
that "the left dog" is the left one of what is seen. To be evaluated on: an expression for each
instance that can be told apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from tgl_e2e.data.augment import (
    STRENGTH,
    Box,
    at_centres,
    bounds,
    change_colours,
    colour_matrix,
    padded,
    resize,
    through_jpeg,
)
from tgl_e2e.data.base import ExpressionRecord, Frames, VideoDataset, VideoRecord, VisibleMoments
from tgl_e2e.data.clips import Clip, ClipOptions, EndlessClips
from tgl_e2e.data.coco import CocoImage, CocoSet, read_coco
from tgl_e2e.data.faults import STRICT, Faults
from tgl_e2e.data.nouns import pick
from tgl_e2e.data.picture_expressions import Seen, colour_of, draw_expression

TRIES = 8  # of crops and expressions before another image is taken
LEAST_SIDE = 0.45  # of the image that a crop keeps
DRIFT = 0.25  # of a crop's side, how far the camera moves in a clip at most
# Of the set to be evaluated on:
LEAST_AREA = 0.01  # share of the image that an instance covers at least
SEARCHES = 60  # of expressions until one means this instance and no other
SIDE = 160  # at which it is looked at to find the words


class PictureClips(EndlessClips):
    """See :class:`EndlessClips`."""

    def __init__(self, images: CocoSet, options: ClipOptions, length: int, seed: int) -> None:
        super().__init__(options, length, seed)
        self.images = images
        self._places = {noun: place for place, noun in enumerate(images.nouns)}

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 1, index])
        while True:
            image = pick(self.images.images, rng)
            present = {instance.noun for instance in image.instances}
            absent = [noun for noun in self.images.nouns if noun not in present]
            picture, ids = image.open(), image.ids()
            if ids.shape != (picture.height, picture.width):
                ids = np.asarray(Image.fromarray(ids).resize(picture.size, Image.NEAREST))
            for _ in range(TRIES):
                clip = self._clip(image, picture, ids, absent, rng)
                if clip is not None:
                    return clip

    def _clip(
        self,
        image: CocoImage,
        picture: Image.Image,
        ids: np.ndarray,
        absent: list[str],
        rng: np.random.Generator,
    ) -> Clip | None:
        options = self.options
        boxes = camera_path(picture.size, options.num_frames, rng)
        flip = rng.random() < options.flip
        middle = len(boxes) // 2
        left, top, right, bottom = boxes[middle]
        size = options.fit.inside((bottom - top, right - left))  # a camera keeps its shape
        crops = (ids[top:bottom, left:right] for left, top, right, bottom in boxes)
        labels = np.stack([at_centres(crop, size) for crop in crops])
        labels = labels[..., ::-1] if flip else labels
        pixels = np.asarray(picture.crop(boxes[middle]).resize(size[::-1], Image.BILINEAR))
        pixels = pixels[:, ::-1] if flip else pixels
        seen = seen_in(image, labels[middle], ids, boxes[middle], pixels)
        said = draw_expression(seen, absent, options.no_target_share, rng)
        if said is None:
            return None
        frames = _filmed(map(picture.crop, boxes), size, flip, options, rng)
        labels = padded(labels, options.size)
        target = np.isin(labels, said.numbers)
        count = options.num_frames
        step = int(rng.integers(1, max(2, options.block // count + 1)))
        # which noun of the set a pixel shows, -1 where none
        nouns = np.array([-1, *(self._places[i.noun] for i in image.instances)], np.int64)
        return Clip(
            name=f"{image.path.name}: {said.text}",
            frames=frames,
            text=said.text,
            positions=torch.arange(count) * step,
            relevant=torch.from_numpy(target.any(axis=(1, 2))),
            target=torch.from_numpy(target),
            remember=bool(rng.random() < options.remember_target),
            labels={"noun": torch.from_numpy(nouns[labels[:, 2::4, 2::4]])},
            nouns=self.images.nouns,
            cue="coco",
        )


def camera_path(size: tuple[int, int], count: int, rng: np.random.Generator) -> list[Box]:
    """Boxes (left, top, right, bottom) of a camera over an image of ``size`` (W, H): one crop, or
    pan and zoom with a little shake."""
    width, height = size
    share = rng.uniform(LEAST_SIDE, 1)
    aspect = np.exp(rng.uniform(-0.25, 0.25))
    kept = np.clip([share * aspect, share / aspect], LEAST_SIDE, 1.0)  # of width and height
    start = rng.uniform(0, 1 - kept)
    times = np.linspace(0, 1, count) if count > 1 else np.zeros(1)
    move = rng.uniform(-DRIFT, DRIFT, 2) * kept
    zoom = 1 + times * (rng.uniform(-0.2, 0.2) if count > 1 else 0)
    shake = rng.normal(0, 0.004, (count, 2)) if count > 1 else np.zeros((1, 2))
    boxes = []
    for t, factor, jolt in zip(times, zoom, shake, strict=True):
        side = np.clip(kept * factor, 0.2, 1.0)
        corner = np.clip(start + t * move + (kept - side) / 2 + jolt, 0, 1 - side)
        left, top = (corner * (width, height)).round().astype(int)
        right, bottom = ((corner + side) * (width, height)).round().astype(int)
        boxes.append((int(left), int(top), int(max(right, left + 2)), int(max(bottom, top + 2))))
    return boxes


def seen_in(
    image: CocoImage, labels: np.ndarray, whole: np.ndarray, box: Box, pixels: np.ndarray
) -> list[Seen]:
    """What a crop shows of each instance.

    Args:
        labels: (h, w) numbers of instances in the crop; whole: (H, W) in the image.
        pixels: (h, w, 3) uint8 of the crop.
    """
    total = np.bincount(whole.ravel(), minlength=256)
    scale = labels.size / max(1, (box[2] - box[0]) * (box[3] - box[1]))
    found, (height, width) = [], labels.shape
    for number in np.unique(labels[labels > 0]):
        instance = image.instances[number - 1]
        mask = labels == number
        left, top, right, bottom = bounds(mask)
        cut = 1 - min(1.0, mask.sum() / scale / max(1, total[number]))
        found.append(
            Seen(
                int(number),
                instance.noun,
                area=float(mask.mean()),
                x=(left + right) / 2 / width,
                y=(top + bottom) / 2 / height,
                box=(left / width, top / height, right / width, bottom / height),
                cut=float(cut),
                crowd=instance.crowd,
                colour=colour_of(pixels[mask]),
            )
        )
    return found


def _filmed(
    crops: Iterable[Image.Image],
    size: tuple[int, int],
    flip: bool,
    options: ClipOptions,
    rng: np.random.Generator,
) -> torch.Tensor:
    """(T, 3, S, S) uint8 of crops, each resized to ``size`` (h, w), in other light, a little out
    of focus and through a codec now and then."""
    lit, compressed, blurred = rng.random(3) < (options.photometric, options.compress_share, 0.15)
    light = colour_matrix(*rng.uniform(1 - 1.5 * STRENGTH, 1 + 1.5 * STRENGTH, 3), 0.0)
    radius, quality = float(rng.uniform(0.4, 1.2)), int(rng.integers(25, 80))
    filmed = []
    for crop in crops:
        small = resize(crop, size)
        small = small.flip(-1) if flip else small
        frame = Image.fromarray(small.permute(1, 2, 0).contiguous().numpy())
        frame = change_colours(frame, light) if lit else frame
        frame = frame.filter(ImageFilter.GaussianBlur(radius)) if blurred else frame
        frame = through_jpeg(frame, quality) if compressed else frame
        filmed.append(torch.from_numpy(np.array(frame)).permute(2, 0, 1))
    return options.fit.place(torch.stack(filmed))


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
    means alone: the same at every reading.

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
        if one.area < LEAST_AREA or one.crowd:
            continue
        rng = np.random.default_rng(zlib.crc32(f"{image.path.name} {instance.key}".encode()))
        for _ in range(SEARCHES):
            said = draw_expression(seen, (), 0.0, rng)
            if said is not None and said.numbers == (one.number,):
                masks = InstanceMask(image, one.number)
                moments = VisibleMoments(masks, (instance.key,))
                yield ExpressionRecord(instance.key, said.text, (instance.key,), moments, masks)
                break
