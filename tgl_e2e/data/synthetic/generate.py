"""make_scene: a seed in, a scene out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tgl_e2e.errors import InputError

from .express import Wish, draw_expression
from .layout import lay_out
from .plan import draw_cast, draw_plans, step_held_out
from .scene import KINDS, Background, Cast, Expression, Nuisance, Retry, Scene, SceneObject, Setting
from .shapes import RGB

FPS = 12.0
# Of attribute, motion, several, compound and no_target.
KIND_SHARES = {
    "easy": (0.48, 0.19, 0.28, 0.0, 0.05),
    "medium": (0.48, 0.14, 0.21, 0.12, 0.05),
    "full": (0.37, 0.13, 0.28, 0.17, 0.05),
}
# How often an expression may be one that appearance decides.
DECIDED = {"easy": 0.9, "medium": 0.5, "full": 0.2}
# A draw of kind, motion and number of objects gets so many attempts before another is drawn: fewer,
# and rare ones would become rarer.
ATTEMPTS, DRAWS = 100, 12
# Two motions and the share of relevant frames do not fit into fewer.
COMPOUND_FRAMES = 28


def make_scene(
    seed: int,
    level: str = "full",
    split: str = "train",
    cue: str | None = None,
    num_frames: int | None = None,
    static: bool = False,
) -> Scene:
    """The scene of a seed: a pure function of its arguments, which all enter the random stream.

    cue: one of CUES that must be necessary to understand the first expression; None for the level's
        own mixture. "fill" exists at level full alone, "motion" not in a static scene.
    level: easy (four directions of movement, few plain objects), medium (every motion, the same
        objects) or full (every motion, shape, fill and background, up to seven objects).
    num_frames: length of the video; drawn if None (24 to 96; easy 24 to 48; `valid` longer).
    static: nothing moves, expressions speak of appearance only and are true in all frames.
    """
    setting = Setting(level, split, cue, static)
    if num_frames is not None and num_frames < (1 if static else 24):
        raise InputError(f"num_frames is {num_frames}; a video with motion needs at least 24")
    rng = np.random.default_rng((seed, *setting.key, num_frames or 0))
    for _ in range(DRAWS):
        kind, length = _kind(setting, rng), num_frames or _length(setting, rng)
        if kind == "compound" and length < COMPOUND_FRAMES:
            kind, length = ("attribute", length) if num_frames else (kind, COMPOUND_FRAMES)
        cast = draw_cast(setting, kind, bool(rng.random() < DECIDED[level]), rng)
        for _ in range(ATTEMPTS):
            try:
                objects, expressions = _contents(setting, cast, length, rng)
            except Retry:
                continue
            behind, trouble = _background(setting, rng), _nuisance(setting, length, rng)
            return Scene(seed, level, split, length, FPS, objects, expressions, behind, trouble)
    raise InputError(
        f"no scene found for seed {seed}, level {level}, split {split}, cue {cue}, "
        f"{num_frames} frames, static {static}: use another seed or more frames"
    )


def absent_expression(scene: Scene, rng: np.random.Generator) -> Expression | None:
    """A sentence that nothing in the scene fulfils, yet near to what is there: looks of one object
    with the motion of another, or a word changed; None where a number of tries finds none."""
    looks_alone = rng.random() < 0.3 or not any(thing.segments for thing in scene.objects)
    setting = Setting(scene.level, scene.split, None, static=looks_alone)
    return draw_expression(setting, scene.objects, Wish("no_target"), rng)


def appearance_expression(scene: Scene, rng: np.random.Generator) -> Expression | None:
    """A sentence about looks alone, true in every frame whatever moves, which the mixture of a
    level leaves out; None where a number of tries finds none."""
    setting = Setting(scene.level, scene.split, None, static=True)
    found = draw_expression(setting, scene.objects, Wish("appearance"), rng)
    meant = () if found is None else [scene.objects[i] for i in found.objects]
    return None if any(map(crosses, meant)) else found  # not true of a frame without them


def crosses(thing: SceneObject) -> bool:
    """Whether an object enters or leaves the frame."""
    return any(segment.motion in ("entering", "leaving") for segment in thing.segments)


def _length(setting: Setting, rng: np.random.Generator) -> int:
    if setting.split == "valid":
        return int(rng.integers(36, 49) if setting.easy else rng.integers(64, 97))
    return int(rng.integers(24, 49 if setting.easy else 97))


def _kind(setting: Setting, rng: np.random.Generator) -> str:
    if setting.static:
        return "appearance"
    if setting.cue is None:
        return str(rng.choice(KINDS[1:], p=KIND_SHARES[setting.level]))
    return "motion" if setting.cue == "motion" and rng.random() < 0.25 else "attribute"


def _contents(
    setting: Setting, cast: Cast, num_frames: int, rng: np.random.Generator
) -> tuple[tuple[SceneObject, ...], tuple[Expression, ...]]:
    """Objects in depth order, and the expressions about them; the primary one first."""
    objects, target = lay_out(setting, draw_plans(setting, cast, rng), num_frames, rng)
    shown = (step_held_out(segment, thing) for thing in objects for segment in thing.segments)
    if setting.split != "valid" and any(shown):
        raise Retry
    wish = Wish(
        cast.kind,
        target=None if setting.static and setting.cue is None else target,
        motion=cast.motion,
        cue=setting.cue,
        decided=cast.decided or setting.static or setting.by_looks,
    )
    primary = draw_expression(setting, objects, wish, rng)
    if primary is None:
        raise Retry
    found = {primary.text: primary}  # and more, each with a text of its own
    anything = replace(setting, cue=None)
    for _ in range(int(rng.integers(1, 4 if setting.easy else 6))):
        kind = _kind(anything, rng)
        decided = setting.static or bool(rng.random() < DECIDED[setting.level])
        more = draw_expression(setting, objects, Wish(kind, decided=decided), rng)
        if more is not None:
            found.setdefault(more.text, more)
    return objects, tuple(found.values())


def _background(setting: Setting, rng: np.random.Generator) -> Background:
    """Colours far from every object colour, as dark or light as chance has it."""
    if setting.simple:
        kind, drift = "plain" if rng.random() < 0.5 else "gradient", (0.0, 0.0)
    else:
        kind = str(rng.choice(("gradient", "clouds", "bands", "checks", "grain")))
        drift = tuple(rng.uniform(-0.006, 0.006, 2) * (rng.random() < 0.7))
    while True:
        first = rng.integers(0, 256, 3)
        second = np.clip(first + rng.integers(-45, 46, 3), 0, 255)
        if all(_far(first + (second - first) * share) for share in (0.0, 0.5, 1.0)):
            colours = tuple(int(v) for v in first), tuple(int(v) for v in second)
            return Background(kind, colours, drift, int(rng.integers(2**31)))


def _far(colour: np.ndarray) -> bool:
    """Whether no object colour could be taken for this one, nor the object fade into it."""
    distances = np.linalg.norm(np.array(list(RGB.values())) - colour, axis=1)
    saturation = colour.max() - colour.min()
    return bool(distances.min() > 100 and saturation < 75)


def _nuisance(setting: Setting, num_frames: int, rng: np.random.Generator) -> Nuisance:
    if setting.simple:
        return Nuisance(float(rng.uniform(1, 4)), 0.0, np.ones(num_frames))
    noise = float(rng.uniform(1, 10))
    blur = float(rng.uniform(0.001, 0.004)) if rng.random() < 0.4 else 0.0
    t = np.arange(num_frames) / num_frames
    swing = rng.uniform(0, 0.14) * (rng.random() < 0.6)
    brightness = 1 + swing * np.sin(2 * np.pi * (t * rng.uniform(0.3, 1.5) + rng.random()))
    return Nuisance(noise, blur, brightness)
