"""The vocabulary of a scene in the making: what was asked for, looks, steps, pairs held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .motions import EASY_MOTIONS, MOTIONS, WITH_PARTNER
from .shapes import COLOURS, EASY_FILLS, EASY_SHAPES, FILLS, SHAPES, SIZES

# Motions that would blur what the cue says.
NOT_WITH = {
    "size": ("growing", "shrinking"),
    "place": ("growing", "shrinking", "stopping", "entering", "leaving"),
}


class Retry(Exception):
    """A draw led nowhere; the caller draws the scene again from the same stream."""


@dataclass(frozen=True)
class Setting:
    """What was asked of make_scene."""

    level: str
    split: str
    cue: str | None
    static: bool

    @property
    def easy(self) -> bool:
        """Four directions of movement are all that happens."""
        return self.level == "easy"

    @property
    def simple(self) -> bool:
        """Few plain objects before a plain background."""
        return self.level != "full"

    @property
    def by_looks(self) -> bool:
        """Whether a cue other than motion was asked for."""
        return self.cue not in (None, "motion")

    def values(self, attribute: str) -> tuple[str, ...]:
        """The words that an attribute can take at this level."""
        shapes = EASY_SHAPES if self.simple else SHAPES
        fills = EASY_FILLS if self.simple else FILLS
        return {"colour": COLOURS, "shape": shapes, "fill": fills, "size": SIZES}[attribute]

    @property
    def motions(self) -> tuple[str, ...]:
        return EASY_MOTIONS if self.easy else MOTIONS[1:]


@dataclass(frozen=True)
class Look:
    colour: str
    shape: str
    fill: str
    size: str


@dataclass(frozen=True)
class Step:
    """One motion to come; partner is an index into the plans."""

    motion: str
    direction: str | None = None
    partner: int | None = None


@dataclass(frozen=True)
class Plan:
    """An object to come; its steps are in time order."""

    look: Look
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Cast:
    """What is settled before a scene is drawn, and kept when a draw leads nowhere.

    kind: of the primary expression; motion: of its target (None in a static scene);
    count: of objects; decided: whether appearance may give the target away.
    """

    kind: str
    motion: str | None
    count: int
    decided: bool


def held_out(motion: str, colour: str | None = None, shape: str | None = None) -> bool:
    """Whether a pair is kept for the split `valid`: a seventh of either table, fixed for ever."""
    m = MOTIONS.index(motion)
    if m == 0:
        return False
    return (colour is not None and (3 * COLOURS.index(colour) + 2 * m) % 7 == 0) or (
        shape is not None and (2 * SHAPES.index(shape) + 3 * m) % 7 == 3
    )


def step_held_out(step, look) -> bool:
    """`held_out` for a step or segment of an object; rolling left is moving left as well."""
    names = [step.motion]
    if step.motion in ("rolling", "following", "entering", "leaving"):
        names.append(f"moving {step.direction}")
    return any(held_out(name, look.colour, look.shape) for name in names)


def draw_cast(setting: Setting, kind: str, decided: bool, rng: np.random.Generator) -> Cast:
    """Draws what the kind of the primary expression leaves open."""
    if setting.simple:
        count = int(rng.integers(3 if setting.split == "valid" else 2, 5))
    elif setting.split == "valid":
        count = int(rng.integers(4, 8))
    else:
        count = int(rng.choice(6, p=(0.08, 0.24, 0.26, 0.2, 0.13, 0.09))) + 2
    if setting.static:
        return Cast(kind, None, count, True)
    banned = ("stopping", "following") if kind == "compound" else ()
    if setting.cue == "motion":
        decided = False  # one that looks the same there must be
    elif setting.by_looks:
        banned += (*WITH_PARTNER, *NOT_WITH.get(setting.cue, ()))
        decided = setting.simple or bool(rng.random() < 0.4)
        if setting.cue == "place" or not decided:
            count = max(count, 3)
    motions = [m for m in setting.motions if m not in banned]
    # Those with a partner are nobody's by-the-way, so they get their share here.
    weights = np.array([2.0 if m in WITH_PARTNER else 1.0 for m in motions])
    motion = str(rng.choice(motions, p=weights / weights.sum()))
    if motion in WITH_PARTNER and not decided:
        count = max(count, 3)
    return Cast(kind, motion, count, decided)
