"""Drawing `scenes`: a scene of sprites and frame numbers in, pictures and exact masks out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from .render import Rendered, grained, through_jpeg
from .scene import SceneObject
from .sprite_scenes import SpriteScene

DETAIL = 1.3  # a sprite is kept so many times as large as it is ever drawn, against aliasing
ZOOM = (1.0, 1.7)  # a scene's part of its photograph: the largest that fits, over so much


def render_sprites(
    scene: SpriteScene, frames: Sequence[int], size: tuple[int, int] | int
) -> Rendered:
    """Draws some frames of a scene of sprites.

    frames: frame numbers in [0, scene.num_frames); each looks the same whatever else is asked for.
    size: (H, W), or one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rgb = np.empty((len(frames), height, width, 3), np.uint8)
    ids = np.zeros((len(frames), height, width), np.uint8)
    picture = scene.background.open()
    boxes = _boxes(scene, picture.size, (height, width))
    backdrops: dict[tuple, Image.Image] = {}
    rng = np.random.default_rng((scene.seed, 5))
    grain = rng.standard_normal((height + 32, width + 32, 1), dtype=np.float32)
    grain = np.rint(grain * scene.nuisance.noise).astype(np.int16)
    sprites = _lit(scene, picture, min(height, width))
    for row, frame in enumerate(frames):
        box = tuple(boxes[frame])
        if box not in backdrops:
            backdrops = {box: picture.resize((width, height), Image.BILINEAR, box=box)}
        canvas = backdrops[box].copy()
        for index, thing in enumerate(scene.objects):
            _lay_on(canvas, ids[row], index, sprites[index], thing, scene, frame)
        rgb[row] = _filmed(scene, frame, canvas, grain)
    return Rendered(rgb, ids)


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
    scene: SpriteScene,
    frame: int,
) -> None:
    """Lays an object over the canvas and the numbers (H, W), in place."""
    image, radius = lit
    width, height = canvas.size
    x, y = thing.seen_at[frame] * (width, height)
    scale = thing.scale[frame] * scene.nuisance.views[frame, 2] * min(width, height) / radius
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


def _filmed(scene: SpriteScene, frame: int, canvas: Image.Image, grain: np.ndarray) -> np.ndarray:
    """Blur, light, noise and compression on a picture: (H, W, 3)."""
    film = scene.nuisance
    width, height = canvas.size
    if film.blur > 0:
        canvas = canvas.filter(ImageFilter.GaussianBlur(film.blur * min(height, width)))
    gains = film.tint * film.brightness[frame]
    canvas = canvas.point([min(255, round(v * gain)) for gain in gains for v in range(256)])
    picture = grained(np.asarray(canvas), grain, (scene.seed, 7, frame))
    if film.quality is None:
        return picture
    return np.asarray(through_jpeg(Image.fromarray(picture), film.quality))
