"""Drawing: a scene and frame numbers in, pictures and exact masks out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .scene import Background, Scene, SceneObject
from .shapes import outline, pattern

SUPERSAMPLE = 8  # Pillow's outlines lie on whole samples: with 4, motion of small things jerks
LARGE = 0.3  # of the frame's shorter side: radius of a leaf that is seldom as small as an object
SHADE = 0.5  # of an object's colour: stripes, dots and details


@dataclass(frozen=True)
class Rendered:
    """rgb (T, H, W, 3) uint8; ids (T, H, W) uint8: 0 background, i + 1 where object i is seen."""

    rgb: np.ndarray
    ids: np.ndarray


def render(scene: Scene, frames: Sequence[int], size: tuple[int, int] | int) -> Rendered:
    """Draws some frames of a scene.

    frames: frame numbers in [0, scene.num_frames); each looks the same whatever else is asked for.
    size: (H, W), or one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rgb = np.empty((len(frames), height, width, 3), np.uint8)
    ids = np.zeros((len(frames), height, width), np.uint8)
    texture = _texture(scene.background, height, width)
    rng = np.random.default_rng((scene.background.seed, 1))
    grain = rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32)
    grain = np.rint(grain * scene.nuisance.noise).astype(np.int16)
    last: dict[int, tuple[tuple, tuple]] = {}
    for row, frame in enumerate(frames):
        picture = _backdrop(scene.background, texture, frame, height, width).copy()
        for index, thing in enumerate(scene.objects):
            pose = (thing.x[frame], thing.y[frame], thing.scale[frame], thing.angle[frame])
            if index not in last or last[index][0] != pose:  # a resting object is drawn once
                last[index] = (pose, _drawn(thing, pose, height, width))
            box, alpha, colour = last[index][1]
            under = picture[box]
            under[...] = under + alpha[..., None] * (colour - under) + 0.5
            ids[row][box][alpha >= 0.5] = index + 1
        rgb[row] = _camera(scene, frame, picture, grain)
    return Rendered(rgb, ids)


def _drawn(
    thing: SceneObject, pose: tuple, height: int, width: int
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """An object at a pose: its box in the frame (empty outside of it), coverage (h, w) float32 in
    [0, 1] there, and colour (h, w, 3) or (3,) float32."""
    x, y, scale, angle = pose
    shape = outline(thing.shape)
    unit = scale * min(height, width)  # pixels
    turn = unit * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([x * width, y * height])
    body = [polygon @ turn + centre for polygon in shape.body]
    points = np.concatenate(body)
    left, top = np.maximum(np.floor(points.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(points.max(0)).astype(int), (width, height))
    if left >= right or top >= bottom:
        return np.s_[0:0, 0:0], np.zeros((0, 0), np.float32), np.zeros(3, np.float32)
    corner, box = np.array([left, top]), (right - left, bottom - top)
    holes = [polygon @ turn + centre for polygon in shape.holes]
    alpha = _coverage(body, holes, corner, box)
    dark = [p @ turn + centre for p in (*pattern(thing.fill), *shape.details)]
    colour = np.array(thing.rgb, np.float32)
    if dark:
        share = (1 - SHADE) * _coverage(dark, [], corner, box)[..., None]
        colour = colour * (1 - share)
    return np.s_[top:bottom, left:right], alpha, colour


def _coverage(
    polygons: Sequence[np.ndarray],
    holes: Sequence[np.ndarray],
    corner: np.ndarray,
    box: tuple[int, int],
) -> np.ndarray:
    """Share of each pixel of a box (w, h) at `corner` that polygons cover: (h, w) float32."""
    patch = Image.new("L", (box[0] * SUPERSAMPLE, box[1] * SUPERSAMPLE))
    draw = ImageDraw.Draw(patch)
    for group, value in ((polygons, 255), (holes, 0)):
        for polygon in group:
            # Pillow takes whole samples, and sample i has its centre at i + 0.5.
            points = np.rint((polygon - corner) * SUPERSAMPLE - 0.5)
            draw.polygon(points.ravel().tolist(), fill=value)
    return np.asarray(patch.reduce(SUPERSAMPLE), np.float32) / 255


def _texture(background: Background, height: int, width: int) -> np.ndarray:
    """What drifts by: (H, W, 3) uint8, or (2H, 2W, 3) where it repeats and moves."""
    rng, kind = np.random.default_rng(background.seed), background.kind
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    ys, xs = ys / height, xs / width
    if kind == "leaves":
        texture = _leaves(rng, height, width)
    else:
        first, second = np.array(background.colours, np.float32)
        share = _share(kind, rng, ys, xs)[..., None]
        texture = (first + share * (second - first) + 0.5).astype(np.uint8)
    still = kind == "gradient" or background.drift == (0.0, 0.0)
    return texture if still else np.tile(texture, (2, 2, 1))


def _share(kind: str, rng: np.random.Generator, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """(H, W) of the second colour of a background; ys, xs (H, W) from 0 to 1."""
    height, width = ys.shape
    if kind == "plain":
        return np.zeros((height, width), np.float32)
    if kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        return ((xs - 0.5) * np.cos(angle) + (ys - 0.5) * np.sin(angle)) / 1.42 + 0.5
    if kind == "clouds":
        return _smooth(rng, 5, height, width)
    if kind == "bands":
        across = rng.integers(2, 7) * xs + rng.integers(-3, 4) * ys
        return 0.5 + 0.5 * np.sin(2 * np.pi * across)
    if kind == "checks":
        n = 2 * rng.integers(2, 6)
        return ((np.floor(xs * n) + np.floor(ys * n)) % 2).astype(np.float32)
    assert kind == "grain", kind
    return 0.5 * _smooth(rng, 24, height, width) + 0.5 * _smooth(rng, 7, height, width)


def _leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Dead leaves (H, W, 3): pieces of all sizes that cover one another, whose statistics are those
    of photographs (Lee, Mumford and Huang, 2001); shaded and a little out of focus."""
    drawn = rng.integers(0, 256, (rng.integers(3, 8), 3)).astype(np.float32)
    grey = drawn.mean(axis=-1, keepdims=True)
    # Small pieces are less colourful than any object, and darker than white ones; larger ones and
    # what lies behind may be as bright as a wall or a shirt in a photograph. What is seen of these
    # can be of an object's size, but seldom of a colour's name too.
    small = (grey + (drawn - grey) * rng.uniform(0.1, 0.5)) * 0.7
    large = (grey + (drawn - grey) * rng.uniform(0.1, 0.9)) * rng.uniform(0.6, 1.0)
    picture = Image.new("RGB", (width, height), tuple(large[0].astype(int).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(15, 80))):
        radius = min(height, width) * 0.03 / (1 - rng.random() * 0.97) ** 0.7  # a power law
        corners = int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = radius * rng.uniform(0.4, 1.2, corners)
        points = np.stack([np.cos(turn), np.sin(turn)], axis=1) * reach[:, None]
        points = points * rng.uniform(0.4, 1.6, 2) + rng.uniform((0, 0), (width, height))
        palette = large if radius > LARGE * min(height, width) else small
        colour = palette[rng.integers(len(palette))] + rng.normal(0, 12, 3)
        draw.polygon(points.ravel().tolist(), fill=tuple(colour.clip(0, 255).astype(int).tolist()))
    if rng.random() < 0.7:
        blur = rng.uniform(0.003, 0.02) * min(height, width)
        picture = picture.filter(ImageFilter.BoxBlur(blur))
    shade = 0.6 + 0.6 * _smooth(rng, int(rng.integers(3, 9)), height, width)
    grain = rng.normal(0, rng.uniform(0, 12), (height, width, 1))
    return (np.asarray(picture) * shade[..., None] + grain).clip(0, 255).astype(np.uint8)


def _smooth(rng: np.random.Generator, cells: int, height: int, width: int) -> np.ndarray:
    """Smooth noise (H, W) in [0, 1] that repeats without a seam."""
    coarse = rng.random((cells, cells)).astype(np.float32)
    padded = np.pad(coarse, 2, mode="wrap")
    inner = (2, 2, 2 + cells, 2 + cells)
    picture = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box=inner)
    return np.clip(np.asarray(picture), 0, 1)


def _backdrop(
    background: Background, texture: np.ndarray, frame: int, height: int, width: int
) -> np.ndarray:
    """The part of the texture seen in a frame, (H, W, 3)."""
    dx = round(background.drift[0] * frame * width) % width
    dy = round(background.drift[1] * frame * height) % height
    if len(texture) == height:
        return texture
    return texture[dy : dy + height, dx : dx + width]


def _camera(scene: Scene, frame: int, picture: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Blur, brightness and noise on a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    if scene.nuisance.blur > 0:
        radius = scene.nuisance.blur * min(height, width)
        picture = np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur(radius)))
    factor = scene.nuisance.brightness[frame]
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.int16)
    return grained(table[picture], grain, (scene.background.seed, 2, frame))


def grained(picture: np.ndarray, grain: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """(H, W, 3) uint8: a picture with a cut of the grain (H + 32, W + 32, 3 or 1), another for each
    seed."""
    height, width = picture.shape[:2]
    dy, dx = np.random.default_rng(seed).integers(0, 33, 2)
    noisy = picture + grain[dy : dy + height, dx : dx + width]
    return np.clip(noisy, 0, 255).astype(np.uint8)


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """An RGB picture that was compressed."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
