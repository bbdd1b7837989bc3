"""Expressions about the instances of one photograph, from what their outlines say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tgl_e2e.data.nouns import SYNONYMS, pick, plural, wider, with_article

SMALLEST = 0.004  # share of the image from which on an instance is spoken of alone
APART = 0.08  # of the image: how far apart centres are for "the left one"
# What a person on it is called, or does.
RIDDEN = {
    "motorcycle": ("rider", "biker", "motorcyclist"),
    "bicycle": ("rider", "biker", "cyclist"),
    "horse": ("rider", "horse rider"),
    "surfboard": ("surfer",),
    "skateboard": ("skateboarder", "skater"),
    "skis": ("skier",),
    "snowboard": ("snowboarder",),
}
COLOURS = {  # name: hue in degrees, from and to
    "red": (345, 12),
    "orange": (18, 38),
    "yellow": (45, 65),
    "green": (80, 160),
    "blue": (195, 250),
    "pink": (300, 340),
}


@dataclass(frozen=True)
class Seen:
    """An instance as it is seen in a crop.

    area: share of the crop; x, y: centre and bottom: lowest row, from 0 to 1; cut: the share of the
    whole instance that lies outside; box: left, top, right, bottom.
    """

    number: int
    noun: str
    area: float
    x: float
    y: float
    box: tuple[float, float, float, float]
    cut: float
    crowd: bool = False
    colour: str | None = None

    @property
    def clear(self) -> bool:
        return self.area >= SMALLEST and self.cut < 0.75 and not self.crowd


# How far from where it is said to be, and in which words.
PLACES = (
    (lambda one: one.x, ("the left {}", "the {} on the left", "the leftmost {}")),
    (lambda one: -one.x, ("the right {}", "the {} on the right", "the rightmost {}")),
    (lambda one: one.y, ("the {} at the top", "the topmost {}")),
    (lambda one: -one.box[3], ("the {} in front", "the closest {}", "the {} at the bottom")),
)


@dataclass(frozen=True)
class Said:
    """An expression and the instances it means (their numbers); none: no target."""

    text: str
    numbers: tuple[int, ...]


def draw_expression(
    seen: Sequence[Seen], absent: Sequence[str], no_target: float, rng: np.random.Generator
) -> Said | None:
    """An expression that a person would understand as meant; None where nothing can be said.

    Args:
        absent: classes of the data set that the image does not show.
        no_target: how often one of these is asked for.
    """
    if absent and rng.random() < no_target:
        return Said(_in_vain(_name(pick(absent, rng), rng), rng), ())
    nouns = sorted({one.noun for one in seen if one.clear})
    if not nouns:
        return None
    noun = pick(nouns, rng)
    if noun in RIDDEN or (noun == "person" and rng.random() < 0.5):
        said = _ridden(seen, noun, rng)
        if said is not None and rng.random() < 0.6:
            return said
    same = [one for one in seen if one.noun == noun]
    # Outlines of persons do not say who is a woman: so they are called where there is but one.
    named = _name(noun, rng) if len(same) == 1 or noun != "person" else noun
    cover = [word for word in wider(noun) if rng.random() < 0.25]
    if cover:
        named = pick(cover, rng)
        same = [one for one in seen if named in wider(one.noun)]
    return _about(same, named, rng)


def _in_vain(noun: str, rng: np.random.Generator) -> str:
    """An expression about what is not there, in the forms in which things that are there are
    spoken of."""
    colour = pick(tuple(COLOURS), rng)
    plain = (f"the {noun}", with_article(noun), f"the {plural(noun)}", noun)
    told = (f"the left {noun}", f"the {noun} on the right", f"the largest {noun}")
    told += (f"the {colour} {noun}", f"the {noun} in front")
    if noun in ("motorcycle", "bicycle", "horse", "skateboard") and rng.random() < 0.4:
        return f"the person on the {noun}"
    return pick(plain if rng.random() < 0.6 else told, rng)


def _about(same: Sequence[Seen], noun: str, rng: np.random.Generator) -> Said | None:
    """An expression about one or all of the instances that a noun covers."""
    clear = [one for one in same if one.clear]
    if not clear:
        return None
    if len(same) == 1:
        colour = same[0].colour
        words = f"{colour} {noun}" if colour and rng.random() < 0.4 else noun
        text = pick((f"the {words}", f"the {words}", with_article(words), words), rng)
        return Said(text, (same[0].number,))
    ways = [_by_place, _by_size, _by_colour] if rng.random() < 0.75 else []
    for way in rng.permutation(len(ways)):
        said = ways[way](same, clear, noun, rng)
        if said is not None:
            return said
    largest = max(same, key=lambda one: one.area)
    alone = all(largest.area > 5 * o.area for o in same if o is not largest)
    if largest.clear and alone and rng.random() < 0.5:
        return Said(f"the {noun}", (largest.number,))
    many = plural(noun)
    text = pick((f"the {many}", f"all {many}", f"all the {many}", many), rng)
    return Said(text, tuple(one.number for one in same))


def _by_place(same, clear, noun: str, rng: np.random.Generator) -> Said | None:
    place, words = pick(PLACES, rng)
    first = min(same, key=place)
    others = [place(one) for one in same if one is not first]
    if not first.clear or min(others) - place(first) < APART:
        return None
    return Said(pick(words, rng).format(noun), (first.number,))


def _by_size(same, clear, noun: str, rng: np.random.Generator) -> Said | None:
    if rng.random() < 0.7:
        one = max(same, key=lambda o: o.area)
        plain = all(one.area > 1.6 * o.area for o in same if o is not one)
        words = ("the largest {}", "the biggest {}", "the big {}", "the large {}")
    else:
        one = min(same, key=lambda o: o.area)
        plain = one.cut < 0.05 and all(1.6 * one.area < o.area for o in same if o is not one)
        words = ("the smallest {}", "the small {}", "the little {}")
    return Said(pick(words, rng).format(noun), (one.number,)) if plain and one.clear else None


def _by_colour(same, clear, noun: str, rng: np.random.Generator) -> Said | None:
    coloured = [one for one in clear if one.colour is not None]
    if not coloured or len(clear) < len(same):
        return None
    one = pick(coloured, rng)
    if any(o.colour == one.colour for o in same if o is not one):
        return None
    return Said(f"the {one.colour} {noun}", (one.number,))


def _ridden(seen: Sequence[Seen], noun: str, rng: np.random.Generator) -> Said | None:
    """About a person on something, where there is one such pair alone."""
    pairs = [
        (rider, mount)
        for mount in seen
        if mount.noun in RIDDEN and mount.clear and noun in (mount.noun, "person")
        for rider in seen
        if rider.noun == "person" and rider.clear and _sits_on(rider, mount)
    ]
    if len(pairs) != 1 or sum(one.noun == pairs[0][1].noun for one in seen) != 1:
        return None
    rider, mount = pairs[0]
    name, thing = pick(RIDDEN[mount.noun], rng), _name(mount.noun, rng)
    alone = sum(one.noun == "person" for one in seen) == 1
    someone = pick(("person", "man", "woman", "boy"), rng) if alone else "person"
    if rng.random() < 0.4:
        pair = f"the {thing}"
        both = (f"{pair} and its rider", f"{pair} with its rider", f"a {name} and {pair}")
        return Said(pick(both, rng), (rider.number, mount.number))
    single = (f"the {name}", f"the {someone} riding the {thing}")
    single += (f"a {someone} on {with_article(thing)}", f"the {someone} on the {thing}")
    return Said(pick(single, rng), (rider.number,))


def _sits_on(rider: Seen, mount: Seen) -> bool:
    left, right = max(rider.box[0], mount.box[0]), min(rider.box[2], mount.box[2])
    width = min(rider.box[2] - rider.box[0], mount.box[2] - mount.box[0])
    above = rider.y < mount.y + 0.02
    touching = mount.box[1] - 0.02 < rider.box[3] < mount.box[3] + 0.05
    return right - left > 0.5 * width and above and touching


def colour_of(pixels: np.ndarray) -> str | None:
    """The colour that (N, 3) uint8 pixels clearly have, None if none.

    Clear: of saturated pixels there are most, and most of these lie in one range of hues; or nearly
    all pixels are black or white.
    """
    if len(pixels) < 30:
        return None
    values = pixels.astype(np.float32) / 255
    highest, lowest = values.max(axis=1), values.min(axis=1)
    spread = highest - lowest
    saturation = spread / np.maximum(highest, 1e-6)
    if np.mean(highest < 0.22) > 0.75:
        return "black"
    if np.mean((lowest > 0.72) & (saturation < 0.15)) > 0.7:
        return "white"
    vivid = (saturation > 0.45) & (highest > 0.3)
    if vivid.mean() < 0.55:
        return None
    (r, g, b), top, spread = values[vivid].T, highest[vivid], spread[vivid]
    beside = np.where(g == top, (b - r) / spread + 2, (r - g) / spread + 4)
    hue = 60 * np.where(r == top, (g - b) / spread % 6, beside)
    for name, (start, end) in COLOURS.items():
        inside = (hue >= start) & (hue <= end) if start < end else (hue >= start) | (hue <= end)
        if inside.mean() > 0.75:
            return name
    return None


def _name(noun: str, rng: np.random.Generator) -> str:
    return pick(SYNONYMS.get(noun, (noun,)), rng)
