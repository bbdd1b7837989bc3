"""One synthetic video, objects with their poses and expressions about them, and how one in the
making is spoken of: what was asked for, looks, plans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tgl_e2e.errors import InputError

from .motions import EASY_MOTIONS, MOTIONS
from .shapes import COLOURS, EASY_FILLS, EASY_SHAPES, FILLS, SHAPES, SIZES

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
    start: int = 0
    end: int = 0
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


class NoScene(InputError):
    """None was found for a seed: another one mends it."""


class Retry(Exception):
    """A draw led nowhere; the caller draws the scene again from the same stream."""


@dataclass(frozen=True)
class Setting:
    """What is asked of make_scene. Raises InputError for what no scene can be."""

    level: str
    split: str
    cue: str | None
    static: bool

    def __post_init__(self) -> None:
        cues = (None, *CUES)
        for name, known in (("level", LEVELS), ("split", SPLITS), ("cue", cues)):
            if getattr(self, name) not in known:
                names = ", ".join(filter(None, known))
                raise InputError(f"no {name} {getattr(self, name)!r}; known are {names}")
        if self.cue == "fill" and self.simple:
            raise InputError(
                "cue 'fill' needs level 'full' (full_share=1): elsewhere all objects are plain"
            )
        if self.cue == "motion" and self.static:
            raise InputError("cue 'motion' decides nothing in static scenes; set static=false")

    @property
    def key(self) -> tuple[int, ...]:
        """What enters the random stream."""
        places = SPLITS.index(self.split), LEVELS.index(self.level), (None, *CUES).index(self.cue)
        return (*places, int(self.static))

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
class Plan:
    """An object to come; its steps, in time order, have no frames yet, and plans as partners."""

    look: Look
    steps: tuple[Segment, ...] = ()


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
