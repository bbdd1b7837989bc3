"""make_sprite_scene: `scenes`, real objects that move before a photograph, with exact moments.

Motions, times, ways, grammar and moments are those of the drawn set: a scene of drawn shapes is
laid out, and its shapes are cast with sprites. Objects of one shape get one noun, so that what they
do (or their size, place, colour) tells them apart; objects that look the same, often one sprite.

A motion is meant in relation to the background, as an annotator would say it: a resting dog does
not move because the camera pans, and a zoom does not make it grow. Places ("on the left") are those
in the frame. The camera keeps in view what is in the scene; where an object enters or leaves the
frame it only shakes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tgl_e2e.data.nouns import SYNONYMS, listed, names_of, pick

from .express import Wish, draw_expression
from .generate import ATTEMPTS, COMPOUND_FRAMES, DRAWS, FPS, crosses
from .layout import lay_out
from .plan import draw_cast, draw_plans
from .scene import SPLITS, Expression, NoScene, Retry, Scene, SceneObject, Setting
from .sprites import Photograph, Sprite, Sprites

LEVEL = "scenes"
# Radius in units of the frame's shorter side, as RADIUS of drawn shapes.
RADIUS = {"small": (0.1, 0.125), "medium": (0.16, 0.195), "big": (0.24, 0.285)}
COLOURS = ("red", "orange", "yellow", "green", "blue", "pink", "black", "white")
SHARES = dict(
    attribute=0.4, motion=0.1, several=0.15, compound=0.12, appearance=0.13, no_target=0.1
)
EASY = 0.3  # share of scenes in which things move in four directions only
DECIDED = 0.35  # how often a cast needs no look-alike of the target
ALIKE = 2  # expressions of one scene that may mean the same
SAME_SPRITE = 0.5  # how often objects that look the same are the same sprite
# What may roll, where there is a choice.
ROUND = listed(
    "ball basketball volleyball orange apple donut pizza clock wheel onion pear peach lemon "
    "mango tomato potato pomegranate button cake apricot globe coin plate bowl"
)
INSIDE = 0.6  # of an object's radius: how far inside a moving camera's view its centre stays


@dataclass(frozen=True)
class Words(Setting):
    """What expressions are drawn from; nouns: those that may be said to be absent, too."""

    nouns: tuple[str, ...] = ()

    def values(self, attribute: str) -> tuple[str, ...]:
        if attribute == "shape":
            return self.nouns
        return COLOURS if attribute == "colour" else super().values(attribute)


@dataclass(frozen=True, eq=False)
class Filming:
    """How a scene is filmed.

    views (T, 3): centre x, y of the frame in the scene's frame sides, and zoom. brightness (T,):
    factor. tint (3,): factor of each channel. blur: radius in frame sides. noise: standard
    deviation in grey levels. quality: of the JPEG that frames went through; None: none.
    """

    views: np.ndarray
    brightness: np.ndarray
    tint: np.ndarray
    blur: float
    noise: float
    quality: int | None


@dataclass(frozen=True, eq=False)
class SpriteScene(Scene):
    """A scene of sprites.

    cast: the sprite of each object; flipped: seen mirrored; shades: factor on its brightness;
    blend: how far its light is brought near the background's, from 0 to 1.
    """

    background: Photograph
    nuisance: Filming
    cast: tuple[Sprite, ...]
    flipped: tuple[bool, ...]
    shades: tuple[float, ...]
    blend: float


def make_sprite_scene(
    sprites: Sprites,
    seed: int,
    split: str = "train",
    num_frames: int | None = None,
    static: bool = False,
    expressions: int = 6,
) -> SpriteScene:
    """The scene of a seed: a pure function of its arguments.

    Args:
        num_frames: length of the video; drawn if None (28 to 64; 1 if static).
        static: nothing moves, expressions speak of appearance only: a picture.
        expressions: how many are tried; some scenes yield fewer.

    Raises:
        NoScene: none found, which another seed or more frames mend.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), int(static), num_frames or 0, 77))
    for _ in range(DRAWS):
        length = num_frames or (1 if static else int(rng.integers(28, 65)))
        level = "easy" if rng.random() < EASY else "medium"
        setting = Setting(level, "valid_u", None, static)
        kind = "appearance" if static else str(rng.choice(("attribute", "several", "compound")))
        if kind == "compound" and length < COMPOUND_FRAMES:
            kind = "attribute"
        cast = draw_cast(setting, kind, bool(rng.random() < DECIDED), rng)
        for _ in range(ATTEMPTS):
            try:
                roles, _ = lay_out(setting, draw_plans(setting, cast, rng), length, rng, RADIUS)
                return _cast(sprites, seed, split, setting, roles, expressions, rng)
            except Retry:
                continue
    raise NoScene(
        f"no scene found for seed {seed}, split {split}, {num_frames} frames: use another seed, "
        "more frames or more sprites"
    )


def _cast(
    sprites: Sprites,
    seed: int,
    split: str,
    setting: Setting,
    roles: Sequence[SceneObject],
    expressions: int,
    rng: np.random.Generator,
) -> SpriteScene:
    """Gives roles to sprites, chooses background and camera, and draws expressions."""
    length = len(roles[0].x)
    background = sprites.background(rng)
    nouns = tuple(noun for noun in sprites.by_noun if not background.shows(noun))
    cast = _choose(sprites, nouns, roles, rng)
    views = _views(roles, rng)
    called = {noun: _called(noun, rng) for noun in dict.fromkeys(sprite.noun for sprite in cast)}
    objects = tuple(
        replace(
            role,
            shape=called[sprite.noun],
            colour=sprite.colour,
            fill="plain",
            names=(names_of(sprite.noun) | {sprite.noun}) - background.names,
            seen_at=(np.stack([role.x, role.y], 1) - views[:, :2]) * views[:, 2:] + 0.5,
        )
        for role, sprite in zip(roles, cast, strict=True)
    )
    told = _expressions(setting, nouns, objects, expressions, rng)
    if not told:
        raise Retry
    film = _filming(views, rng)
    flipped = tuple((rng.random(len(cast)) < 0.5).tolist())
    shades, blend = tuple(rng.uniform(0.85, 1.15, len(cast)).tolist()), float(rng.uniform(0, 0.5))
    told_by = (seed, LEVEL, split, length, FPS, objects, told)
    return SpriteScene(*told_by, background, film, cast, flipped, shades, blend)


def _choose(
    sprites: Sprites, nouns: Sequence[str], roles: Sequence[SceneObject], rng: np.random.Generator
) -> tuple[Sprite, ...]:
    """A sprite for each role: one noun for all of one shape."""
    weights = np.array([sprites.weights[noun] for noun in nouns])
    if not len(nouns):
        raise Retry
    by_shape: dict[str, str] = {}
    by_look: dict[tuple[str, str], Sprite] = {}
    cast = []
    for role in roles:
        if role.shape not in by_shape:
            likely = weights * [noun not in by_shape.values() for noun in nouns]
            alike = [other for other in roles if other.shape == role.shape]
            if any(s.motion == "rolling" for other in alike for s in other.segments):
                likely *= [20.0 if noun.split()[-1] in ROUND else 0.3 for noun in nouns]
            if not likely.sum():
                raise Retry
            by_shape[role.shape] = nouns[rng.choice(len(nouns), p=likely / likely.sum())]
        look = role.shape, role.colour
        sprite = by_look.get(look)
        if sprite is None or rng.random() >= SAME_SPRITE:
            sprite = sprites.draw(by_shape[role.shape], rng)
            if sprite is None:
                raise Retry
            by_look.setdefault(look, sprite)
        cast.append(sprite)
    return tuple(cast)


def _called(noun: str, rng: np.random.Generator) -> str:
    """What a noun is called in one scene."""
    words = [w for w in SYNONYMS.get(noun, ()) if w in names_of(noun)]
    return pick(words, rng) if words and rng.random() < 0.3 else noun


def _expressions(
    setting: Setting,
    nouns: tuple[str, ...],
    objects: Sequence[SceneObject],
    wanted: int,
    rng: np.random.Generator,
) -> tuple[Expression, ...]:
    """Expressions with texts of their own."""
    moving = Words(setting.level, "valid", None, setting.static, nouns)
    still = replace(moving, static=True)
    found: dict[str, Expression] = {}
    for _ in range(3 * wanted):
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if setting.static:
            kind = "no_target" if kind == "no_target" else "appearance"
        looks_alone = kind == "appearance" or (kind == "no_target" and rng.random() < 0.35)
        drawn = draw_expression(still if looks_alone else moving, objects, Wish(kind), rng)
        if drawn is None or (looks_alone and not _says_what(drawn, objects, nouns)):
            continue
        text = re.sub(r"\bshape(s?)\b", r"object\1", drawn.text)
        text = re.sub(r"\b(person|people) which\b", r"\1 who", text)
        alike = sum(one.moments == drawn.moments for one in found.values() if one.objects)
        most = 1 if kind == "appearance" else ALIKE
        if alike < most and "medium" not in text.split():  # which nobody says
            found.setdefault(text, replace(drawn, text=text))
        if len(found) == wanted:
            break
    return tuple(found.values())


def _says_what(
    expression: Expression, objects: Sequence[SceneObject], nouns: Sequence[str]
) -> bool:
    """Whether an expression about looks names a noun ("the thing" may be in the background), and
    its objects are there from the first frame to the last."""
    meant = [objects[i] for i in expression.objects]
    if any(map(crosses, meant)):
        return False
    names = {name for thing in meant for name in (thing.shape, *thing.names)} or set(nouns)
    return any(name in expression.text for name in names)


def _views(objects: Sequence[SceneObject], rng: np.random.Generator) -> np.ndarray:
    """(T, 3) the camera's way: centre and zoom, around the scene's own frame."""
    length = len(objects[0].x)
    u = np.linspace(0, 1, length) if length > 1 else np.zeros(1)
    ease = u * u * (3 - 2 * u) if rng.random() < 0.5 else u
    still = any(map(crosses, objects))
    pans, zooms, shakes = rng.random(3) < ((0.5, 0.35, 0.4) if length > 1 else (0, 0, 0))
    pan = rng.uniform(-0.3, 0.3, 2) * (1, 0.5) * (pans and not still)
    zoom = rng.uniform(-0.35, 0.35) * (zooms and not still)
    steps = rng.normal(0, 1, (length + 8, 2)).cumsum(0)
    drift = steps - np.stack([np.convolve(s, np.ones(9) / 9, "same") for s in steps.T], 1)
    shake = drift[4 : length + 4] * rng.uniform(0.002, 0.006) * shakes
    points = np.stack([[o.x, o.y] for o in objects], 0).transpose(0, 2, 1)  # (objects, T, 2)
    radii = np.stack([thing.scale for thing in objects])  # (objects, T)
    within = ((points > 0) & (points < 1)).all(-1)
    for gentle in (1.0, 0.7, 0.45, 0.25, 0.0):
        centre = 0.5 + gentle * (ease - 0.5)[:, None] * pan + shake
        factor = np.exp(gentle * (ease - 0.5) * zoom)
        seen = (points - centre) * factor[:, None] + 0.5
        edge = 0.5 - INSIDE * radii * factor
        if ((np.abs(seen - 0.5) < edge[..., None]).all(-1) | ~within).all():
            break
    return np.concatenate([centre, factor[:, None]], 1)


def _filming(views: np.ndarray, rng: np.random.Generator) -> Filming:
    u = np.arange(len(views)) / max(1, len(views))
    swing = rng.uniform(0, 0.12) * (rng.random() < 0.4)
    wave = swing * np.sin(2 * np.pi * (u * rng.uniform(0.3, 1.5) + rng.random()))
    return Filming(
        views,
        rng.uniform(0.75, 1.15) * (1 + wave),
        rng.uniform(0.92, 1.08, 3),
        float(rng.uniform(0.0008, 0.003)) * bool(rng.random() < 0.35),
        float(rng.uniform(0.5, 6)),
        int(rng.integers(25, 70)) if rng.random() < 0.35 else None,
    )
