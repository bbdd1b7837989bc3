"""Real objects to put into scenes: instances cut out of photographs, and cut-outs with names."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tgl_e2e.data.coco import CocoImage, Instance, opened, read_coco
from tgl_e2e.data.nouns import listed, names_of, pick
from tgl_e2e.data.picture_expressions import colour_of
from tgl_e2e.errors import InputError
from tgl_e2e.files import read_json

SMALLEST, LARGEST = 0.015, 0.6  # share of its image that an instance to be cut out covers
LEAST_SIDE = 40  # pixels: shorter instances are too coarse to be shown larger
EMPTY = 4.0  # how often a photograph of no known thing is taken, to one of a small thing
SIDE = 224  # longest side that sprites are kept at
TOUCHING = 0.2  # of its outline: one that others touch along more is half behind them
BORDER = 0.01  # of the image's side: an instance that comes nearer to the edge is cut by it
VALID_SHARE = 5  # one in so many sprites and backgrounds is kept for validation
RIM = 12  # pixels beyond the outline that its colours are carried on, for soft edges without halo
COMMON = 8.0  # times as likely as a noun with one sprite that the most common nouns are
MOVERS = frozenset(("person", "animal", "vehicle"))  # drawn twice as often: who moves in videos
# What stands in backgrounds too, is no thing of its own, or a name that says nothing.
UNFIT = listed(
    "tree flower plant oak birch marigold adenium anthurium balsam hibiscus gazania petunia "
    "iris daffodil rose thyme lettuce castle cathedral cemetery farm fishery fort fortress "
    "graveyard house inn jailhouse mine monastery city stable tavern tower hall university "
    "warehouse windmill cottage shop crossroads crossing t-intersection ahead entry ripe used "
    "covered xanthia eye earth mercury moon sun star neptune pluto saturn jupiter root probe "
    "airways beauty obelisk pyramid cherimoya gravestone headstone tombstone marker bow "
    "lionfish tux cep abalone wreath shipwreck table book"
)
QUALITIES = listed(
    "red green blue yellow purple orange black white brown pink silver colorful very small big "
    "huge large little male sitting sleeping singing lit sliced folded stripey old-fashioned "
    "modern poisonous"
)


@dataclass(frozen=True, eq=False)
class Sprite:
    """key: file and annotation; noun; rgba (h, w, 4) uint8; colour: where one is clearly measured.

    radius: of the disc as large as it, in pixels, with long things a little smaller.
    """

    key: str
    noun: str
    rgba: np.ndarray
    colour: str | None
    radius: float


@dataclass(frozen=True, eq=False)
class Source:
    """Where a sprite comes from: an instance of an image, or a file with alpha (instance None)."""

    noun: str
    file: CocoImage | Path
    instance: Instance | None = None


@dataclass(frozen=True)
class Photograph:
    """path of a background; shown: nouns of what is known to be seen in it; weight: how often
    it is taken, the more the less of it these cover."""

    path: Path
    shown: frozenset[str] = frozenset()
    weight: float = EMPTY

    def open(self) -> Image.Image:
        """RGB."""
        return opened(self.path)

    @cached_property
    def names(self) -> frozenset[str]:
        """Everything that a thing in it may be called."""
        return frozenset().union(*map(names_of, self.shown))

    def shows(self, noun: str) -> bool:
        """Whether something in it could be meant by a noun, or by one that covers it."""
        return noun in self.names or bool(names_of(noun) & self.shown)


@dataclass(frozen=True, eq=False)
class Sprites:
    """by_noun: where the sprites of each noun come from; backgrounds."""

    by_noun: dict[str, Sequence[Source]]
    backgrounds: tuple[Photograph, ...]

    @cached_property
    def weights(self) -> dict[str, float]:
        """How likely each noun is to be drawn, one with a single sprite 1."""
        return {
            noun: min(len(found) ** 0.5, COMMON) * (2 if names_of(noun) & MOVERS else 1)
            for noun, found in self.by_noun.items()
        }

    def background(self, rng: np.random.Generator) -> Photograph:
        """Draws a background."""
        weights = np.array([photo.weight for photo in self.backgrounds])
        return self.backgrounds[rng.choice(len(weights), p=weights / weights.sum())]

    def draw(self, noun: str, rng: np.random.Generator) -> Sprite | None:
        """One of the noun's; None where a few tries find none that can be cut out."""
        for _ in range(4):
            sprite = cut(pick(self.by_noun[noun], rng))
            if sprite is not None:
                return sprite
        return None


def read_sprites(roots: Sequence[str | Path], split: str) -> Sprites:
    """Finds what can be cut out for a split; pictures are opened when asked for.

    A folder in COCO's format with annotations of its own for validation (instances_val.json) gives
    these to `valid_u`. Of any other folder every fifth file is kept for it, by its name: a
    photograph with all its instances goes one way, so that no object is seen in both.

    Args:
        roots: folders in COCO's format (instances_train.json or instances.json), of RGBA cut-outs
            with names.json, or of photographs.

    Raises:
        InputError: a folder is none of these, or nothing is left of it.
    """
    sources: list[Source] = []
    backgrounds: list[Photograph] = []
    for root in map(Path, roots):
        if (root / "names.json").is_file():
            names = read_json(root / "names.json", "it holds the names of the cut-outs")
            for file, name in sorted(names.items()):
                noun = _noun(str(name))
                if noun and _belongs(file, split):
                    sources.append(Source(noun, root / file))
        elif any(root.glob("instances*.json")):
            for image in _images(root, split):
                for instance in image.instances:
                    if _whole(image, instance) and instance.noun.split()[-1] not in UNFIT:
                        sources.append(Source(instance.noun, image, instance))
                shown = frozenset(instance.noun for instance in image.instances)
                area = sum(i.area for i in image.instances) / (image.size[0] * image.size[1])
                backgrounds.append(Photograph(image.path, shown, max(0.1, 1 - area) ** 2))
        else:
            found = [p for p in sorted(root.glob("*")) if p.suffix.lower() in (".jpg", ".png")]
            if not found:
                raise InputError(
                    f"{root}: neither instances*.json, names.json nor photographs in it"
                )
            backgrounds += [Photograph(p) for p in found if _belongs(p.name, split)]
    by_noun = {noun: [] for noun in sorted({source.noun for source in sources})}
    for source in sources:
        by_noun[source.noun].append(source)
    if not by_noun or not backgrounds:
        raise InputError(
            f"{'+'.join(map(str, roots))}: {len(by_noun)} nouns and {len(backgrounds)} backgrounds "
            f"for {split}; give folders in COCO's format, of cut-outs with names.json, of "
            "photographs, or more of them"
        )
    return Sprites(by_noun, tuple(backgrounds))


def _images(root: Path, split: str) -> list[CocoImage]:
    if (root / "instances_val.json").is_file():
        return list(read_coco(root, "train" if split == "train" else "val").images)
    return [i for i in read_coco(root, "train").images if _belongs(i.path.name, split)]


def _belongs(name: str, split: str) -> bool:
    held_out = zlib.crc32(name.encode()) % VALID_SHARE == 0
    return held_out == (split != "train")


def _noun(name: str) -> str | None:
    """A cut-out's name without the words that a look at it must decide; None for none."""
    words = name.lower().split()
    while len(words) > 1 and words[0] in QUALITIES:
        words = words[1:]
    many = words[-1].endswith("s") and not words[-1].endswith("ss")
    odd = {"of", "two", "pair", "couple", "another", "s"} & set(words)
    return None if many or odd or set(UNFIT) & set(words) else " ".join(words)


def _whole(image: CocoImage, instance: Instance) -> bool:
    """Whether its annotation looks like a whole object: in one piece, not cut by the border."""
    height, width = image.size
    share = instance.area / (height * width)
    polygons = instance.segmentation
    if instance.crowd or not SMALLEST <= share <= LARGEST or not isinstance(polygons, list):
        return False
    if len(polygons) != 1:
        return False  # something in front of it, most often
    points = np.asarray(polygons[0], float).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(0), points.max(0)
    inside = left > BORDER * width and right < (1 - BORDER) * width and top > BORDER * height
    large = max(right - left, bottom - top) >= LEAST_SIDE
    return bool(inside and bottom < (1 - BORDER) * height and large)


@lru_cache(maxsize=512)
def cut(source: Source) -> Sprite | None:
    """The sprite of a source; None where hardly anything of it is there to be seen."""
    if source.instance is None:
        rgba = np.asarray(opened(source.file, "RGBA"))
        box = _extent(rgba[..., 3] >= 128)
        return box and _sprite(source.file.name, source.noun, rgba[box])
    image, instance = source.file, source.instance
    number = image.instances.index(instance) + 1
    if number > 254:
        return None
    ids = image.ids()
    mask = ids == number
    box = _extent(mask)
    if box is None or mask.sum() < 0.85 * instance.area:
        return None
    picture = image.open()
    if picture.size != (mask.shape[1], mask.shape[0]):
        raise InputError(
            f"{image.path}: {picture.width} x {picture.height} pixels, annotated as "
            f"{mask.shape[1]} x {mask.shape[0]}; use images and annotations of one release"
        )
    ids, mask, rgb = (plane[box] for plane in (ids, mask, np.asarray(picture)))
    grown = np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(5))) > 0
    if (ids[grown & ~mask] > 0).mean() > TOUCHING:
        return None
    # Outlines by hand run a little outside of the object.
    alpha = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MinFilter(3))
    alpha = alpha.filter(ImageFilter.GaussianBlur(0.8))
    rgba = np.dstack([rgb, np.asarray(alpha)])
    return _sprite(f"{image.path.name}:{instance.key}", instance.noun, rgba)


def _extent(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of a mask with a little margin; None of an empty one."""
    lines = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    if not lines[0].size:
        return None
    return tuple(slice(max(0, line[0] - 2), line[-1] + 3) for line in lines)


def _sprite(key: str, noun: str, rgba: np.ndarray) -> Sprite | None:
    picture = Image.fromarray(rgba)
    picture.thumbnail((SIDE, SIDE), Image.LANCZOS)
    rgba = np.array(picture)
    solid = rgba[..., 3] >= 128
    if solid.sum() < 200:
        return None
    rgba[..., :3] = _carried_on(rgba[..., :3], rgba[..., 3] >= 250)
    height, width = solid.shape
    radius = np.sqrt(np.sqrt(solid.sum() / np.pi) * np.hypot(height, width) / 2) / 1.19
    radius = max(radius, max(height, width) / 2.6)
    return Sprite(key, noun, rgba, colour_of(rgba[..., :3][solid]), float(radius))


def _carried_on(rgb: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Colours (h, w, 3) with those outside of the mask replaced by the nearest inside, blurred: the
    old background would shine through soft edges."""
    if not inside.any():
        return rgb
    weight = inside.astype(np.float32)
    sums = rgb * weight[..., None]
    filled, known = np.where(inside[..., None], rgb, 0).astype(np.float32), inside.copy()
    for radius in (1, 3, RIM):
        shares = _blurred(weight, radius)
        spread = np.stack([_blurred(sums[..., c], radius) for c in range(3)], axis=-1)
        new = ~known & (shares > 0.01)
        filled[new] = spread[new] / shares[new][:, None]
        known |= new
    filled[~known] = rgb[inside].mean(axis=0)
    return np.clip(filled + 0.5, 0, 255).astype(np.uint8)


def _blurred(plane: np.ndarray, radius: int) -> np.ndarray:
    """(h, w) mean over squares of side 2 * radius + 1."""
    side = 2 * radius + 1
    sums = np.pad(np.pad(plane, radius), ((1, 0), (1, 0))).cumsum(0, dtype=np.float64).cumsum(1)
    box = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return (box / side**2).astype(np.float32)
