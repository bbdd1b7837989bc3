"""Drawing: a scene and frame numbers in, pictures and exact masks out."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Sprite:
    """An object as drawn in one frame, within the box rows x columns of the frame.

    alpha (h, w) float32 coverage in [0, 1]; colour (h, w, 3) or (3,) float32.
    """

    rows: slice
    columns: slice
    alpha: np.ndarray
    colour: np.ndarray


def render(scene: Scene, frames: Sequence[int], size: tuple[int, int] | int) -> Rendered:
    """Draws some frames of a scene.

    frames: frame numbers in [0, scene.num_frames); each looks the same whatever else is asked for.
    size: (H, W), or one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rgb = np.empty((len(frames), height, width, 3), np.uint8)
    ids = np.zeros((len(frames), height, width), np.uint8)
    texture = _texture(scene.background, height, width)
    grain = _grain(scene, height, width)
    last: dict[int, tuple[tuple, Sprite | None]] = {}
    for row, frame in enumerate(frames):
        picture = _backdrop(scene.background, texture, frame, height, width).copy()
        for index, thing in enumerate(scene.objects):
            pose = (thing.x[frame], thing.y[frame], thing.scale[frame], thing.angle[frame])
            if index not in last or last[index][0] != pose:  # a resting object is drawn once
                last[index] = (pose, _sprite(thing, pose, height, width))
            _lay_on(last[index][1], index, picture, ids[row])
        rgb[row] = _camera(scene, frame, picture, grain)
    return Rendered(rgb, ids)


def _sprite(thing: SceneObject, pose: tuple, height: int, width: int) -> Sprite | None:
    """Coverage and colour of an object at a pose; None outside the frame."""
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
        return None
    corner, box = np.array([left, top]), (right - left, bottom - top)
    holes = [polygon @ turn + centre for polygon in shape.holes]
    alpha = _coverage(body, holes, corner, box)
    dark = [p @ turn + centre for p in (*pattern(thing.fill), *shape.details)]
    colour = np.array(thing.rgb, np.float32)
    if dark:
        share = (1 - SHADE) * _coverage(dark, [], corner, box)[..., None]
        colour = colour * (1 - share)
    return Sprite(slice(top, bottom), slice(left, right), alpha, colour)


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


def _lay_on(sprite: Sprite | None, index: int, picture: np.ndarray, ids: np.ndarray) -> None:
    """Puts an object over picture (H, W, 3) and ids (H, W), in place."""
    if sprite is None:
        return
    under = picture[sprite.rows, sprite.columns]
    alpha = sprite.alpha[..., None]
    under[...] = under + alpha * (sprite.colour - under) + 0.5
    ids[sprite.rows, sprite.columns][sprite.alpha >= 0.5] = index + 1


def _texture(background: Background, height: int, width: int) -> np.ndarray:
    """What drifts by: (H, W, 3) uint8, or (2H, 2W, 3) where it repeats and moves."""
    rng = np.random.default_rng(background.seed)
    if background.kind == "leaves":
        leaves = _leaves(rng, height, width)
        return leaves if background.drift == (0.0, 0.0) else np.tile(leaves, (2, 2, 1))
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    ys, xs = ys / height, xs / width
    kind = background.kind
    if kind == "plain":
        share = np.zeros((height, width), np.float32)
    elif kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        share = (xs - 0.5) * np.cos(angle) + (ys - 0.5) * np.sin(angle)
        share = share / 1.42 + 0.5
        return _mixed(share, background)
    elif kind == "clouds":
        share = _smooth(rng, 5, height, width)
    elif kind == "bands":
        across = rng.integers(2, 7) * xs + rng.integers(-3, 4) * ys
        share = 0.5 + 0.5 * np.sin(2 * np.pi * across)
    elif kind == "checks":
        n = 2 * rng.integers(2, 6)
        share = ((np.floor(xs * n) + np.floor(ys * n)) % 2).astype(np.float32)
    else:
        assert kind == "grain", kind
        share = 0.5 * _smooth(rng, 24, height, width) + 0.5 * _smooth(rng, 7, height, width)
    if background.drift == (0.0, 0.0):
        return _mixed(share, background)
    return np.tile(_mixed(share, background), (2, 2, 1))


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


def _mixed(share: np.ndarray, background: Background) -> np.ndarray:
    first, second = np.array(background.colours, np.float32)
    return (first + share[..., None] * (second - first) + 0.5).astype(np.uint8)


def _backdrop(
    background: Background, texture: np.ndarray, frame: int, height: int, width: int
) -> np.ndarray:
    """The part of the texture seen in a frame, (H, W, 3)."""
    dx = round(background.drift[0] * frame * width) % width
    dy = round(background.drift[1] * frame * height) % height
    if len(texture) == height:
        return texture
    return texture[dy : dy + height, dx : dx + width]


def _grain(scene: Scene, height: int, width: int) -> np.ndarray:
    """Noise (H + 32, W + 32, 3) int16 of which each frame takes another cut."""
    rng = np.random.default_rng((scene.background.seed, 1))
    noise = rng.standard_normal((height + 32, width + 32, 3), dtype=np.float32)
    return np.rint(noise * scene.nuisance.noise).astype(np.int16)


def _camera(scene: Scene, frame: int, picture: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Blur, brightness and noise on a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    if scene.nuisance.blur > 0:
        radius = scene.nuisance.blur * min(height, width)
        picture = np.asarray(Image.fromarray(picture).filter(ImageFilter.BoxBlur(radius)))
    factor = scene.nuisance.brightness[frame]
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.int16)
    dy, dx = np.random.default_rng((scene.background.seed, 2, frame)).integers(0, 33, 2)
    noisy = table[picture] + grain[dy : dy + height, dx : dx + width]
    return np.clip(noisy, 0, 255).astype(np.uint8)
