"""Drawing: a scene and frame numbers in, pictures and exact masks out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from tgl_e2e.data.augment import through_jpeg

from .scene import Background, Scene, SceneObject
from .shapes import outline, pattern
from .sprite_scenes import SpriteScene

SUPERSAMPLE = 8  # Pillow's outlines lie on whole samples: with 4, motion of small things jerks
LARGE = 0.3  # of the frame's shorter side: radius of a leaf that is seldom as small as an object
SHADE = 0.5  # of an object's colour: stripes, dots and details
DETAIL = 1.3  # a sprite is kept so many times as large as it is ever drawn, against aliasing
ZOOM = (1.0, 1.7)  # a scene's part of its photograph: the largest that fits, over so much


@dataclass(frozen=True)
class Rendered:
    """rgb (T, H, W, 3) uint8; ids (T, H, W) uint8: 0 background, i + 1 where object i is seen."""

    rgb: np.ndarray
    ids: np.ndarray


def render(scene: Scene, frames: Sequence[int], size: tuple[int, int] | int) -> Rendered:
    """Draws some frames of a scene, of shapes or of sprites.

    frames: frame numbers in [0, scene.num_frames); each looks the same whatever else is asked for.
    size: (H, W), or one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rgb = np.empty((len(frames), height, width, 3), np.uint8)
    ids = np.zeros((len(frames), height, width), np.uint8)
    draw = _sprites if isinstance(scene, SpriteScene) else _shapes
    for row, picture in enumerate(draw(scene, frames, ids)):
        rgb[row] = picture
    return Rendered(rgb, ids)


def _shapes(scene: Scene, frames: Sequence[int], ids: np.ndarray) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) of drawn shapes; ids (T, H, W) are filled in."""
    height, width = ids.shape[1:]
    background, film = scene.background, scene.nuisance
    texture = _texture(background, height, width)
    grain = _grain((background.seed, 1), (height, width, 3), film.noise)
    last: dict[int, tuple[tuple, tuple]] = {}
    for frame, seen in zip(frames, ids, strict=True):
        picture = _backdrop(background, texture, frame, height, width).copy()
        for index, thing in enumerate(scene.objects):
            pose = (thing.x[frame], thing.y[frame], thing.scale[frame], thing.angle[frame])
            if index not in last or last[index][0] != pose:  # a resting object is drawn once
                last[index] = (pose, _drawn(thing, pose, height, width))
            box, alpha, colour = last[index][1]
            under = picture[box]
            under[...] = under + alpha[..., None] * (colour - under) + 0.5
            seen[box][alpha >= 0.5] = index + 1
        if film.blur > 0:
            blur = ImageFilter.BoxBlur(film.blur * min(height, width))
            picture = np.asarray(Image.fromarray(picture).filter(blur))
        lit = np.rint(np.arange(256) * film.brightness[frame]).clip(0, 255).astype(np.int16)
        yield _grained(lit[picture], grain, (background.seed, 2, frame))


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
    if len(texture) == height:
        return texture
    dx = round(background.drift[0] * frame * width) % width
    dy = round(background.drift[1] * frame * height) % height
    return texture[dy : dy + height, dx : dx + width]


def _sprites(scene: SpriteScene, frames: Sequence[int], ids: np.ndarray) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) of sprites before a photograph; ids (T, H, W) are filled in."""
    height, width = ids.shape[1:]
    film, photo = scene.nuisance, scene.background.open()
    boxes = _boxes(scene, photo.size, (height, width))
    backdrops: dict[tuple, Image.Image] = {}
    grain = _grain((scene.seed, 5), (height, width, 1), film.noise)
    sprites = _lit(scene, photo, min(height, width))
    for frame, seen in zip(frames, ids, strict=True):
        box = tuple(boxes[frame])
        if box not in backdrops:
            backdrops = {box: photo.resize((width, height), Image.BILINEAR, box=box)}
        canvas = backdrops[box].copy()
        for index, thing in enumerate(scene.objects):
            _lay_on(canvas, seen, index, sprites[index], thing, film.views[frame, 2], frame)
        if film.blur > 0:
            canvas = canvas.filter(ImageFilter.GaussianBlur(film.blur * min(height, width)))
        gains = film.tint * film.brightness[frame]
        canvas = canvas.point([min(255, round(v * gain)) for gain in gains for v in range(256)])
        picture = _grained(np.asarray(canvas), grain, (scene.seed, 7, frame))
        if film.quality is not None:
            picture = np.asarray(through_jpeg(Image.fromarray(picture), film.quality))
        yield picture


def _boxes(scene: SpriteScene, photo: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(T, 4) left, top, right, bottom of the views in the photograph, in its pixels."""
    height, width = size
    views = scene.nuisance.views
    half = 0.5 / views[:, 2:]  # (T, 1) of the scene's frame
    low, high = views[:, :2] - half, views[:, :2] + half
    corner, extent = low.min(0), high.max(0) - low.min(0)
    # The largest part of the photograph that has the shape of all that the camera ever sees.
    pixels = min(photo[0] / (extent[0] * width), photo[1] / (extent[1] * height))
    rng = np.random.default_rng((scene.seed, 6))
    pixels /= rng.uniform(*ZOOM)
    scale = pixels * np.array([width, height])  # photograph's pixels per frame side
    spare = np.array(photo) - extent * scale
    origin = rng.random(2) * np.maximum(spare, 0) - corner * scale
    boxes = np.concatenate([origin + low * scale, origin + high * scale], 1)
    return np.clip(boxes, 0, np.array([*photo, *photo]))


def _lit(scene: SpriteScene, picture: Image.Image, side: int) -> list[tuple[Image.Image, float]]:
    """The sprites in the scene's light, mirrored, at about the size they are drawn at; and how many
    pixels of these their radius has."""
    around = float(np.asarray(picture.convert("L").resize((16, 16), Image.BOX)).mean())
    found = []
    for thing, sprite, flipped, shade in zip(
        scene.objects, scene.cast, scene.flipped, scene.shades, strict=True
    ):
        image = Image.fromarray(sprite.rgba)
        if flipped:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        largest = float((thing.scale * scene.nuisance.views[:, 2]).max()) * side
        factor = min(1.0, DETAIL * largest / sprite.radius)
        if factor < 1:
            shape = [max(3, round(n * factor)) for n in image.size]
            image = image.resize(shape, Image.BILINEAR)
            factor = float(np.sqrt(np.prod(shape) / (sprite.rgba.shape[0] * sprite.rgba.shape[1])))
        own = float(sprite.rgba[..., :3][sprite.rgba[..., 3] >= 128].mean())
        gain = shade * float(np.clip((around / max(own, 1.0)) ** scene.blend, 0.6, 1.5))
        table = [min(255, round(v * gain)) for v in range(256)]
        image = image.point([*table, *table, *table, *range(256)])
        # A transparent pixel around it, which what lies outside is sampled from.
        found.append((ImageOps.expand(image, 1), sprite.radius * factor))
    return found


def _lay_on(
    canvas: Image.Image,
    ids: np.ndarray,
    index: int,
    lit: tuple[Image.Image, float],
    thing: SceneObject,
    zoom: float,
    frame: int,
) -> None:
    """Lays an object over the canvas and the numbers (H, W), in place."""
    image, radius = lit
    width, height = canvas.size
    x, y = thing.seen_at[frame] * (width, height)
    scale = thing.scale[frame] * zoom * min(width, height) / radius
    cos, sin = np.cos(thing.angle[frame]) * scale, np.sin(thing.angle[frame]) * scale
    w, h = image.size
    reach_x = (abs(cos) * w + abs(sin) * h) / 2
    reach_y = (abs(sin) * w + abs(cos) * h) / 2
    left, top = max(0, int(x - reach_x)), max(0, int(y - reach_y))
    right, bottom = min(width, int(x + reach_x) + 2), min(height, int(y + reach_y) + 2)
    if left >= right or top >= bottom:
        return
    # From the box's pixels back to the sprite's.
    a, b, d, e = np.array([cos, sin, -sin, cos]) / scale**2
    shift_x, shift_y = left - x, top - y
    back = (a, b, w / 2 + a * shift_x + b * shift_y, d, e, h / 2 + d * shift_x + e * shift_y)
    box = (right - left, bottom - top)
    drawn = image.transform(box, Image.Transform.AFFINE, back, Image.BILINEAR)
    canvas.paste(drawn, (left, top), drawn)
    ids[top:bottom, left:right][np.asarray(drawn.getchannel("A")) >= 128] = index + 1


def _grain(seed: Sequence[int], size: tuple[int, int, int], noise: float) -> np.ndarray:
    """(H + 32, W + 32, C) int16, from which each frame has a cut; noise: its standard deviation."""
    height, width, channels = size
    rng = np.random.default_rng(seed)
    grain = rng.standard_normal((height + 32, width + 32, channels), dtype=np.float32)
    return np.rint(grain * noise).astype(np.int16)


def _grained(picture: np.ndarray, grain: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """(H, W, 3) uint8: a picture with a cut of the grain (H + 32, W + 32, 3 or 1), another for each
    seed."""
    height, width = picture.shape[:2]
    dy, dx = np.random.default_rng(seed).integers(0, 33, 2)
    noisy = picture + grain[dy : dy + height, dx : dx + width]
    return np.clip(noisy, 0, 255).astype(np.uint8)
