"""The description of one synthetic video: objects with their poses, and expressions about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .motions import MOTIONS

LEVELS = ("easy", "full", "medium")  # the order is fixed for ever: it enters random streams
SPLITS = ("train", "valid_u", "valid")
CUES = ("colour", "shape", "fill", "size", "place", "motion")
KINDS = ("appearance", "attribute", "motion", "several", "compound", "no_target")

Span = tuple[int, int]  # first and last frame, both included


@dataclass(frozen=True)
class Segment:
    """One motion of one object over the frames start..end, both included.

    direction: "left", "right", "up" or "down" where the motion is a straight one along an axis.
    partner: index of the object that is approached or followed.
    """

    motion: str
    start: int
    end: int
    direction: str | None = None
    partner: int | None = None


@dataclass(frozen=True, eq=False)
class SceneObject:
    """An object: what it looks like, and where it is in every frame.

    x, y (T,): centre, as a share of the frame's width and height, origin top left.
    scale (T,): radius in units of the frame's shorter side.
    angle (T,): rotation in radians, clockwise on the screen.
    rgb: its own shade of the colour.
    names: what else the noun in `shape` may be called, for what is no drawn shape.
    seen_at (T, 2): where it is in the picture, if a camera moves over the scene.
    """

    shape: str
    colour: str | None
    fill: str
    size: str
    segments: tuple[Segment, ...]
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    rgb: tuple[int, int, int]
    names: frozenset[str] = frozenset()
    seen_at: np.ndarray | None = None

    def seen(self, axis: str) -> np.ndarray:
        """(T,) x or y in the picture."""
        if self.seen_at is None:
            return getattr(self, axis)
        return self.seen_at[:, "xy".index(axis)]

    def motions(self) -> np.ndarray:
        """(T,) int64 index into MOTIONS for every frame."""
        labels = np.zeros(len(self.x), dtype=np.int64)
        for segment in self.segments:
            labels[segment.start : segment.end + 1] = MOTIONS.index(segment.motion)
        return labels


@dataclass(frozen=True)
class Expression:
    """A sentence about a scene.

    objects: indices of the objects it means, empty where it has no target.
    moments: per object the frames in which it shows what the sentence says.
    kind: one of KINDS ("attribute" is attribute and motion, "several" several objects with moments
        of their own).
    cues: the parts (see CUES) without which the set of objects is not determined.
    appearance_decides: whether its words about appearance and place alone pick exactly its objects.
    """

    text: str
    objects: tuple[int, ...]
    moments: dict[int, list[Span]]
    kind: str
    cues: frozenset[str]
    appearance_decides: bool


@dataclass(frozen=True)
class Background:
    """What lies behind the objects.

    kind: "plain", "gradient", "clouds", "bands", "checks" or "grain"; or "leaves", as cluttered as
    a photograph, which the levels leave out. colours: two RGB triples that it is mixed from (but
    leaves). drift: movement in frame sides per frame, (x, y). seed: of its texture.
    """

    kind: str
    colours: tuple[tuple[int, int, int], tuple[int, int, int]]
    drift: tuple[float, float]
    seed: int


@dataclass(frozen=True, eq=False)
class Nuisance:
    """Camera trouble. noise: standard deviation in grey levels. blur: radius in frame sides.
    brightness (T,): factor per frame."""

    noise: float
    blur: float
    brightness: np.ndarray


@dataclass(frozen=True, eq=False)
class Scene:
    """A video before it is drawn. Objects later in the tuple lie in front."""

    seed: int
    level: str
    split: str
    num_frames: int
    fps: float
    objects: tuple[SceneObject, ...]
    expressions: tuple[Expression, ...]
    background: Background
    nuisance: Nuisance

    def relevant(self, expression: Expression) -> np.ndarray:
        """(T,) bool: frames in which any object of the expression shows what it says."""
        return covered(expression.moments.values(), self.num_frames)


def covered(moments, num_frames: int) -> np.ndarray:
    """(T,) bool: the union of several lists of spans."""
    frames = np.zeros(num_frames, dtype=bool)
    for spans in moments:
        for start, end in spans:
            frames[start : end + 1] = True
    return frames
