"""Augmentation of a clip: drawn once, and the same for all of its frames.

Mirrored, its margins cut off, its colours changed; each only where the sentence bears it
(:mod:`tgl_e2e.data.wording`). Parameters are drawn whether they are used or not, so that switching
one augmentation on leaves the others, and the choice of frames, as they were.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.wording import bears_crop, mirror_text, names_colour
from tgl_e2e.fit import Fit

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two exclusive

LEAST_SHARE = 0.6  # of width and height that a crop keeps
STRENGTH = 0.2  # brightness, contrast and saturation are multiplied by up to 1 +- this
HUE_DEGREES = 6.0  # too little to turn one named colour into another, and 0 where one is named


@dataclass(frozen=True)
class Zoom:
    """A crop before the objects are known. share: of width and height that is kept; x, y: where,
    from 0 (left, top) to 1, among the places that keep the objects whole."""

    share: float
    x: float
    y: float


@dataclass(frozen=True)
class Augmentation:
    """What is done to every frame of a clip. text: the sentence that goes with it; colours: affine
    map of RGB, see :func:`colour_matrix`. None: not done."""

    text: str
    flip: bool = False
    zoom: Zoom | None = None
    colours: np.ndarray | None = None


def draw_augmentation(text: str, options: ClipOptions, rng: np.random.Generator) -> Augmentation:
    """Draws what happens to the clip of a sentence, with the probabilities of ``options``."""
    flip, photometric, scale = rng.random(3) < (options.flip, options.photometric, options.scale)
    zoom = Zoom(*rng.uniform((LEAST_SHARE, 0, 0), 1).tolist())
    brightness, contrast, saturation = rng.uniform(1 - STRENGTH, 1 + STRENGTH, 3)
    hue = 0.0 if names_colour(text) else rng.uniform(-HUE_DEGREES, HUE_DEGREES)
    mirrored = mirror_text(text) if flip else None
    return Augmentation(
        text=text if mirrored is None else mirrored,
        flip=mirrored is not None,
        zoom=zoom if scale and bears_crop(text) else None,
        colours=colour_matrix(brightness, contrast, saturation, hue) if photometric else None,
    )


def colour_matrix(brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """Photometric change as one affine map of RGB in 0..255.

    Args:
        brightness, contrast, saturation: factors, 1 changes nothing; contrast is about mid-grey.
        hue: degrees that colours are turned about the axis of greys.

    Returns:
        (3, 4): new RGB = the first three columns times RGB, plus the last. Grey stays grey.
    """
    angle = np.deg2rad(hue)
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * axis
    luma = np.tile([0.299, 0.587, 0.114], (3, 1))  # ITU-R BT.601
    blend = saturation * np.eye(3) + (1 - saturation) * luma
    linear = contrast * brightness * blend @ turn
    return np.column_stack([linear, np.full(3, (1 - contrast) * 127.5)])


def change_colours(picture: Image.Image, matrix: np.ndarray) -> Image.Image:
    """An RGB picture under :func:`colour_matrix`, rounded and cut to 0..255."""
    return picture.convert("RGB", tuple(matrix.ravel().tolist()))


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """An RGB picture that was compressed."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def bounds(masks: np.ndarray) -> Box | None:
    """The box around everything that is set in (..., H, W) masks; None if nothing is."""
    flat = masks.reshape(-1, *masks.shape[-2:]).any(axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_box(zoom: Zoom, width: int, height: int, keep: Box | None) -> Box:
    """Where to crop frames of a size: inside them, of their shape, and around all of ``keep``.

    The box grows beyond ``zoom.share`` where the objects ask for it, up to the whole frame.
    """
    left, top, right, bottom = keep or (0, 0, 0, 0)
    share = max(zoom.share, (right - left) / width, (bottom - top) / height)
    corners = []
    for size, place, first, last in ((width, zoom.x, left, right), (height, zoom.y, top, bottom)):
        kept = round(share * size)
        lowest, highest = 0, size - kept
        if keep is not None:
            lowest, highest = max(lowest, last - kept), min(highest, first)
        start = lowest + round(place * (highest - lowest))
        corners.append((start, start + kept))
    (x0, x1), (y0, y1) = corners
    return x0, y0, x1, y1


def resize(picture: Image.Image, size: tuple[int, int]) -> Tensor:
    """(C, H, W) uint8 of a picture with 3 or 4 bands: bilinear, antialiased, as in inference; on
    bytes, which is several times faster than on floats and rounds once more."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    if pixels.shape[1:] == size:
        return pixels
    return F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[0]


def at_centres(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., h, w) what (..., H, W) ids are at the centres of h x w equal parts."""
    pairs = zip(ids.shape[-2:], size, strict=True)
    rows, columns = (((np.arange(parts) + 0.5) * n / parts).astype(int) for n, parts in pairs)
    return ids[..., rows[:, None], columns]


def padded(ids: np.ndarray, side: int) -> np.ndarray:
    """(T, S, S) of (T, h, w) ids, which are nothing's right of and below the frame."""
    return np.pad(ids, ((0, 0), *((0, side - n) for n in ids.shape[1:])))


def augment_frame(
    picture: Image.Image, mask: np.ndarray, fit: Fit, box: Box | None, change: Augmentation
) -> tuple[Tensor, Tensor]:
    """A frame and its mask, changed alike.

    The mask travels as the picture's alpha band, so that nothing can move one without the other.
    It is resized as the picture is and cut at half: a pixel counts where most of it is covered.

    Args:
        picture: RGB, W x H.
        mask: (H, W) bool.
        box: from :func:`crop_box` for all frames of the clip; None: the whole frame.

    Returns:
        (3, S, S) uint8 and (S, S) bool.
    """
    if change.colours is not None:
        picture = change_colours(picture, change.colours)
    picture = picture.convert("RGBA")
    picture.putalpha(Image.fromarray(mask.view(np.uint8) * 255))
    picture = picture if box is None else picture.crop(box)
    pixels = resize(picture, fit.inside((picture.height, picture.width)))
    pixels = fit.place(pixels.flip(-1) if change.flip else pixels)
    return pixels[:3], pixels[3] >= 128
