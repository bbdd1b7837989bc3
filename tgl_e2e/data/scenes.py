"""Training clips of real objects that move, with exact moments: `scenes`.

Motions, layouts, grammar and moments are those of the drawn set; in place of shapes there are
sprites (instances cut out of photographs, and cut-outs with names), before photographs that a
camera moves over. Motion is meant against the background, as an annotator would say it. Objects
that look alike to the generator become sprites of one noun, often the same sprite: what they do
tells them apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from tgl_e2e.data.clips import Clip, ClipOptions, choose_frames
from tgl_e2e.data.coco import CocoImage, Instance, read_coco
from tgl_e2e.data.files import read_json
from tgl_e2e.data.nouns import wider
from tgl_e2e.data.picture_expressions import colour_of
from tgl_e2e.data.pictures import camera_path, film
from tgl_e2e.data.sampling import select_objects
from tgl_e2e.data.synthetic import Expression, Scene, SceneObject, make_scene
from tgl_e2e.data.synthetic.cast import Setting
from tgl_e2e.data.synthetic.express import Wish, draw_expression
from tgl_e2e.errors import InputError

SMALLEST, LARGEST = 0.01, 0.5  # share of its image that an instance to be cut out covers
SIDE = 192  # longest side that sprites are kept at
VALID_SHARE = 5  # one in so many sprites and backgrounds is kept for validation
KINDS = {"attribute": 0.4, "motion": 0.12, "appearance": 0.18, "several": 0.15, "compound": 0.15}


@dataclass(frozen=True, eq=False)
class Sprite:
    """noun: what it is called; rgba: (h, w, 4) uint8; colour: where one is clearly measured."""

    noun: str
    rgba: np.ndarray
    colour: str | None


@dataclass(frozen=True, eq=False)
class Sprites:
    """by_noun: noun -> its sprites; backgrounds: photographs, and the nouns that each shows."""

    by_noun: dict[str, list[Sprite]]
    backgrounds: list[tuple[Path, frozenset[str]]]

    @property
    def nouns(self) -> tuple[str, ...]:
        return tuple(self.by_noun)


class Words(Setting):
    """What draw_expression asks of a setting, for sprites: every motion, and nouns for shapes."""

    nouns: tuple[str, ...] = ("thing",)

    def values(self, attribute: str) -> tuple[str, ...]:
        return self.nouns if attribute == "shape" else super().values(attribute)


class SceneClips(Dataset):
    """An endless set: sample ``index`` is a pure function of it and the seed."""

    def __init__(self, sprites: Sprites, options: ClipOptions, length: int, seed: int) -> None:
        self.sprites = sprites
        self.options = options
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 3, index])
        options = self.options
        while True:
            scene, cast = sprite_scene(self.sprites, int(rng.integers(2**31)), options)
            no_target = rng.random() < options.no_target_share
            expression = _express(scene, self.sprites.nouns, no_target, rng)
            if expression is not None:
                break
        relevant = scene.relevant(expression)
        start, frames = choose_frames(relevant, options, rng)
        rgb, ids = film_scene(scene, cast, self.sprites, frames, options.size, rng)
        kept = list(expression.objects)
        if options.selective:
            kept = select_objects(expression.moments, frames)
        lit = film([Image.fromarray(picture) for picture in rgb], options, rng)
        return Clip(
            name=f"scenes {scene.seed} frames {frames.tolist()}",
            frames=lit,
            text=expression.text,
            positions=torch.from_numpy(frames - start).long(),
            relevant=torch.from_numpy(relevant[frames]),
            target=torch.from_numpy(np.isin(ids, [i + 1 for i in kept])),
            remember=bool(rng.random() < options.remember_target),
            cue=f"scenes/{expression.kind}",
        )


def sprite_scene(sprites: Sprites, seed: int, options: ClipOptions) -> tuple[Scene, list[Sprite]]:
    """A laid-out scene in whose objects looks are replaced by sprites', and these.

    Objects of one shape get one noun; objects that look the same, the same sprite more often than
    not. A noun is the sprite's own or, for all objects that it covers, a wider word.
    """
    rng = np.random.default_rng(seed)
    level = "easy" if rng.random() < 0.45 else "medium"
    static = options.num_frames == 1 or options.static
    scene = make_scene(seed, level=level, static=static)
    nouns, chosen, cast = list(sprites.by_noun), {}, []
    by_look: dict[tuple[str, str], Sprite] = {}
    for thing in scene.objects:
        noun = chosen.setdefault(thing.shape, nouns[rng.integers(len(nouns))])
        same = by_look.get((thing.shape, thing.colour))
        own = sprites.by_noun[noun]
        sprite = same if same and rng.random() < 0.6 else own[rng.integers(len(own))]
        by_look.setdefault((thing.shape, thing.colour), sprite)
        cast.append(sprite)
    called = [sprite.noun for sprite in cast]
    if rng.random() < 0.25:
        words = [word for noun in called for word in wider(noun)]
        if words:
            word = words[rng.integers(len(words))]
            called = [word if word in wider(noun) else noun for noun in called]
    larger = rng.uniform(1.1, 1.9)
    objects = tuple(
        replace(thing, shape=noun, colour=sprite.colour, fill="plain", scale=thing.scale * larger)
        for thing, sprite, noun in zip(scene.objects, cast, called, strict=True)
    )
    return replace(scene, objects=objects, expressions=()), cast


def _express(
    scene: Scene, nouns: tuple[str, ...], no_target: bool, rng: np.random.Generator
) -> Expression | None:
    static = not any(thing.segments for thing in scene.objects)
    setting = Words(scene.level, "valid", None, static)
    object.__setattr__(setting, "nouns", nouns)
    for _ in range(4):
        kind = "appearance" if static else str(rng.choice(list(KINDS), p=list(KINDS.values())))
        kind = "no_target" if no_target else kind
        asked = replace(setting) if kind != "appearance" else setting
        if kind == "appearance":
            asked = Words(scene.level, "valid", None, True)
        object.__setattr__(asked, "nouns", nouns)
        found = draw_expression(asked, scene.objects, Wish(kind), rng)
        if found is not None and (kind != "appearance" or _always_there(scene, found)):
            return found
    return None


def _always_there(scene: Scene, expression: Expression) -> bool:
    meant = [scene.objects[i] for i in expression.objects]
    return not any(s.motion in ("entering", "leaving") for o in meant for s in o.segments)


# --- drawing --------------------------------------------------------------------------------


def film_scene(
    scene: Scene,
    cast: Sequence[Sprite],
    sprites: Sprites,
    frames: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws frames of a scene before a photograph.

    Returns:
        rgb (T, S, S, 3) uint8 and ids (T, S, S) uint8, 0 or 1 + the object seen there.
    """
    background = _background(sprites, {thing.shape for thing in scene.objects}, rng)
    moving = rng.random() < 0.6 and len(frames) > 1
    boxes = camera_path(background.size, scene.num_frames if moving else 1, rng)
    boxes = [boxes[t] if moving else boxes[0] for t in frames]
    flips, shade = rng.random(len(cast)) < 0.5, rng.uniform(0.8, 1.15, len(cast))
    rgb = np.empty((len(frames), size, size, 3), np.uint8)
    ids = np.zeros((len(frames), size, size), np.uint8)
    for row, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
        canvas = background.resize((size, size), Image.BILINEAR, box=box)
        for number, (thing, sprite) in enumerate(zip(scene.objects, cast, strict=True), start=1):
            _paste(
                canvas,
                ids[row],
                number,
                thing,
                sprite,
                frame,
                flips[number - 1],
                shade[number - 1],
                _shift(boxes[0], box),
            )
        rgb[row] = np.asarray(canvas)
    return rgb, ids


def _background(sprites: Sprites, nouns: set[str], rng: np.random.Generator) -> Image.Image:
    """A photograph that shows nothing which the nouns of a scene could mean."""
    while True:
        path, shown = sprites.backgrounds[rng.integers(len(sprites.backgrounds))]
        if not any(noun in nouns or nouns & set(wider(noun)) for noun in shown):
            with Image.open(path) as opened:
                return opened.convert("RGB")


def _shift(first: tuple[int, ...], now: tuple[int, ...]) -> tuple[float, float, float]:
    """Where the camera's first view lies in the present one: scale, x, y."""
    width, height = now[2] - now[0], now[3] - now[1]
    scale = ((first[2] - first[0]) / width + (first[3] - first[1]) / height) / 2
    return scale, (first[0] - now[0]) / width, (first[1] - now[1]) / height


def _paste(canvas, ids, number, thing: SceneObject, sprite: Sprite, frame, flip, shade, view):
    """Lays an object over the canvas and the numbers, in place."""
    size = canvas.width
    scale, dx, dy = view
    x, y = thing.x[frame] * scale + dx, thing.y[frame] * scale + dy
    height, width = sprite.rgba.shape[:2]
    radius = thing.scale[frame] * scale * size
    factor = 2 * radius / np.hypot(height, width) * 1.25
    w, h = max(3, round(width * factor)), max(3, round(height * factor))
    picture = Image.fromarray(sprite.rgba)
    if flip:
        picture = picture.transpose(Image.FLIP_LEFT_RIGHT)
    picture = picture.resize((w, h), Image.BILINEAR, reducing_gap=2.0)
    angle = -np.degrees(thing.angle[frame] - thing.angle[0])
    if abs(angle) > 0.5:
        picture = picture.rotate(angle, Image.BILINEAR, expand=True)
    alpha = picture.getchannel("A")
    if abs(shade - 1) > 0.02:
        rgb = picture.convert("RGB").point(lambda v: min(255, v * shade))
        picture = rgb
    left, top = round(x * size - picture.width / 2), round(y * size - picture.height / 2)
    canvas.paste(picture.convert("RGB"), (left, top), alpha)
    mask = np.asarray(alpha) >= 128
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(size, top + mask.shape[0]), min(size, left + mask.shape[1])
    if y0 < y1 and x0 < x1:
        ids[y0:y1, x0:x1][mask[y0 - top : y1 - top, x0 - left : x1 - left]] = number


# --- sprites --------------------------------------------------------------------------------


def read_sprites(roots: Sequence[str | Path], split: str) -> Sprites:
    """Sprites and backgrounds of a split (``train`` or ``valid_u``).

    Args:
        roots: folders in COCO's format (instances_train.json or instances.json), of RGBA cut-outs
            with names.json, or of photographs. Which split a sprite or background belongs to
            follows from its name.

    Raises:
        InputError: a folder is none of these, or nothing is left of it.
    """
    by_noun: dict[str, list[Sprite]] = {}
    backgrounds: list[tuple[Path, frozenset[str]]] = []
    for root in map(Path, roots):
        if (root / "names.json").is_file():
            names = read_json(root / "names.json", "it holds the names of the cut-outs")
            for file, noun in sorted(names.items()):
                if _belongs(file, split):
                    _add(by_noun, _cutout(root / file, str(noun)))
        elif list(root.glob("instances*.json")):
            for image in read_coco(root, "train").images:
                if _belongs(image.path.name, split):
                    for instance in image.instances:
                        if _whole(image, instance):
                            _add(by_noun, _cut_out(image, instance))
                    backgrounds.append((image.path, frozenset(i.noun for i in image.instances)))
        else:
            found = [p for p in sorted(root.glob("*")) if p.suffix.lower() in (".jpg", ".png")]
            backgrounds += 3 * [(p, frozenset()) for p in found if _belongs(p.name, split)]
    if not by_noun or not backgrounds:
        raise InputError(
            f"{'+'.join(map(str, roots))}: {len(by_noun)} nouns and {len(backgrounds)} backgrounds "
            "found; give folders in COCO's format, of cut-outs with names.json, of photographs"
        )
    return Sprites(by_noun, backgrounds)


def _belongs(name: str, split: str) -> bool:
    held_out = zlib.crc32(name.encode()) % VALID_SHARE == 0
    return held_out == (split != "train")


def _add(by_noun: dict[str, list[Sprite]], sprite: Sprite | None) -> None:
    if sprite is not None:
        by_noun.setdefault(sprite.noun, []).append(sprite)


def _whole(image: CocoImage, instance: Instance) -> bool:
    share = instance.area / (image.size[0] * image.size[1])
    return not instance.crowd and SMALLEST <= share <= LARGEST


def _cut_out(image: CocoImage, instance: Instance) -> Sprite | None:
    """The instance with alpha; None where the border cuts it or hardly anything of it is there."""
    number = image.instances.index(instance) + 1
    if number > 254:
        return None
    mask = image.ids() == number
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size or mask.sum() < 0.8 * instance.area:
        return None
    on_border = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    if on_border > 0.06 * np.sqrt(mask.sum()) * 4:
        return None
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    rgb = np.asarray(image.open())[top:bottom, left:right]
    mask = mask[top:bottom, left:right]
    rgba = np.dstack([rgb, mask.astype(np.uint8) * 255])
    return Sprite(instance.noun, _small(rgba), colour_of(rgb[mask]))


def _cutout(path: Path, noun: str) -> Sprite:
    try:
        with Image.open(path) as picture:
            rgba = np.asarray(picture.convert("RGBA"))
    except OSError as error:
        raise InputError(f"{path}: no readable image ({error}); get it again") from None
    solid = rgba[..., 3] >= 128
    return Sprite(noun, _small(rgba), colour_of(rgba[..., :3][solid]))


def _small(rgba: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(rgba)
    picture.thumbnail((SIDE, SIDE), Image.BILINEAR)
    return np.asarray(picture)
