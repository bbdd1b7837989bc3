"""Expressions of each kind about a laid-out scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .cast import Setting, held_out
from .describe import (
    ATTRIBUTES,
    Action,
    Description,
    Matches,
    decided_by_appearance,
    necessary_cues,
    resolve,
)
from .grammar import sentence
from .motions import WITH_PARTNER
from .scene import Expression, SceneObject, covered

TRIES = 14
SHARE = (0.15, 0.6)  # of the frames that may be relevant


@dataclass(frozen=True)
class Wish:
    """What an expression shall be like.

    target: an object that it must mean, doing `motion`. cue: one that must be necessary.
    decided: False if appearance must not be enough.
    """

    kind: str
    target: int | None = None
    motion: str | None = None
    cue: str | None = None
    decided: bool = True


def draw_expression(
    setting: Setting, objects: Sequence[SceneObject], wish: Wish, rng: np.random.Generator
) -> Expression | None:
    """An expression as wished, or None where this scene yields none after a number of tries."""
    draw = {
        "appearance": _appearance,
        "attribute": _attribute,
        "motion": _motion,
        "several": _several,
        "compound": _compound,
        "no_target": _no_target,
    }[wish.kind]
    for _ in range(TRIES):
        descriptions = draw(setting, objects, wish, rng)
        expression = descriptions and _checked(setting, objects, descriptions, wish, rng)
        if expression:
            return expression
    return None


def _checked(
    setting: Setting,
    objects: Sequence[SceneObject],
    descriptions: list[Description],
    wish: Wish,
    rng: np.random.Generator,
) -> Expression | None:
    """The expression, if what the descriptions mean is clear and as wished."""
    found = [resolve(objects, description) for description in descriptions]
    if any(matches is None for matches in found):
        return None
    moments: Matches = {}
    for matches in found:
        if set(matches) & set(moments):
            return None
        moments |= matches
    plural = len(descriptions) == 1 and len(moments) > 1
    if not _right_number(wish, found, plural):
        return None
    if wish.target is not None and wish.kind != "no_target" and wish.target not in moments:
        return None
    num_frames = len(objects[0].x)
    share = covered(moments.values(), num_frames).mean()
    if moments and not setting.static and not SHARE[0] <= share <= SHARE[1]:
        return None
    decided = decided_by_appearance(objects, descriptions, set(moments))
    if decided and not wish.decided:
        return None
    cues = necessary_cues(objects, descriptions)
    if wish.cue is not None and wish.cue not in cues:
        return None
    moments = {index: moments[index] for index in sorted(moments)}
    text = sentence(descriptions, rng, plural)
    return Expression(text, tuple(moments), moments, wish.kind, cues, decided)


def _right_number(wish: Wish, found: Sequence[Matches], plural: bool) -> bool:
    """Whether as many objects are meant as the sentence will say."""
    if wish.kind == "no_target":
        return not any(found)
    if wish.kind == "several":
        spans = [span for matches in found for span in matches.values()]
        # Moments of their own: not all the same.
        return (plural or all(len(m) == 1 for m in found)) and len({str(s) for s in spans}) > 1
    if wish.kind == "appearance":
        return len(found[0]) > 0
    return len(found[0]) == 1


def _appearance(setting, objects, wish, rng) -> list[Description]:
    index = wish.target if wish.target is not None else rng.integers(len(objects))
    return [_looks(objects, index, rng, wish.cue, place=0.15)]


def _attribute(setting, objects, wish, rng) -> list[Description] | None:
    index, action = _who_does(objects, wish, rng)
    if action is None:
        return None
    return [replace(_looks(objects, index, rng, wish.cue), action=action)]


def _motion(setting, objects, wish, rng) -> list[Description] | None:
    _, action = _who_does(objects, wish, rng)
    return None if action is None else [Description(action=action)]


def _several(setting, objects, wish, rng) -> list[Description] | None:
    first = _attribute(setting, objects, wish, rng)
    if first is None or rng.random() < 0.2:
        return first  # may turn out to be a plural
    others = replace(wish, target=None, motion=None, cue=None)
    count = 2 if len(objects) > 2 and rng.random() < 0.12 else 1
    more = [_attribute(setting, objects, others, rng) for _ in range(count)]
    if any(one is None for one in more):
        return None
    return first + [one[0] for one in more]


def _compound(setting, objects, wish, rng) -> list[Description] | None:
    index = wish.target if wish.target is not None else int(rng.integers(len(objects)))
    segments = [s for s in objects[index].segments if s.motion != "stopping"]
    if len(segments) < 2:
        return None
    at = int(rng.integers(len(segments) - 1))
    pair = segments[at : at + 2]
    if wish.motion is not None and wish.motion not in (s.motion for s in pair):
        return None
    first, second = (_action(objects, segment, rng) for segment in pair)
    if first is None or second is None:
        return None
    looks = Description() if rng.random() < 0.15 else _looks(objects, index, rng, wish.cue)
    return [replace(looks, action=first, then=second)]


def _no_target(setting, objects, wish, rng) -> list[Description] | None:
    """A near miss: looks of one object, motion of another, one word changed now and then."""
    index = int(rng.integers(len(objects)))
    looks = _looks(objects, index, rng, None)
    if setting.static:  # nothing moves, so a word of looks has to be the wrong one
        name = str(rng.choice([a for a in ("colour", "shape") if getattr(looks, a)] or ["shape"]))
        return [replace(looks, **{name: str(rng.choice(setting.values(name)))})]
    _, action = _who_does(objects, Wish("attribute"), rng)
    if action is None or rng.random() < 0.4:
        free = [m for m in setting.motions if m not in WITH_PARTNER and m != "stopping"]
        action = Action(str(rng.choice(free)))
    if rng.random() < 0.3:
        name = str(rng.choice([a for a in ("colour", "shape") if getattr(looks, a)] or ["colour"]))
        looks = replace(looks, **{name: str(rng.choice(setting.values(name)))})
    if rng.random() < 0.2:
        looks = Description()
    if setting.split != "valid" and held_out(action.motion, looks.colour, looks.shape):
        return None  # else "never true" would be all that training says about such a pair
    return [replace(looks, action=action)]


def _who_does(
    objects: Sequence[SceneObject], wish: Wish, rng: np.random.Generator
) -> tuple[int, Action | None]:
    """An object and one of its actions, as far as the wish leaves them open."""
    index = wish.target if wish.target is not None else int(rng.integers(len(objects)))
    segments = [s for s in objects[index].segments if wish.motion in (None, s.motion)]
    if not segments:
        return index, None
    return index, _action(objects, segments[rng.integers(len(segments))], rng)


def _action(objects: Sequence[SceneObject], segment, rng: np.random.Generator) -> Action | None:
    if segment.partner is not None:
        partner = _looks(objects, segment.partner, rng, None, place=0)
        found = resolve(objects, partner)
        return Action(segment.motion, partner=partner) if found and len(found) == 1 else None
    if segment.motion == "rolling" and rng.random() < 0.5:
        return Action("rolling", segment.direction)
    return Action(segment.motion)


def _looks(
    objects: Sequence[SceneObject],
    index: int,
    rng: np.random.Generator,
    cue: str | None,
    place: float = 0.06,
) -> Description:
    """Some words about an object's appearance. place: how often it is said where it is."""
    thing = objects[index]
    # A small elephant is not small beside a big cup: real things are measured against their like.
    peers = [o for o in objects if not thing.names or o.shape == thing.shape]
    varied = {name: len({getattr(o, name) for o in peers}) > 1 for name in ATTRIBUTES}
    chance = {
        "colour": 0.6,
        "shape": 0.7,
        "fill": 0.35 if varied["fill"] else 0.04 * (thing.fill != "plain"),
        # "big" means nothing among equals.
        "size": 0.25 if varied["size"] else 0,
    }
    words = {name: getattr(thing, name) for name in ATTRIBUTES if rng.random() < chance[name]}
    if thing.colour is None:
        words.pop("colour", None)
    if thing.names and "shape" in words and rng.random() < 0.3:
        words["shape"] = str(rng.choice(sorted(thing.names)))
    if cue in ATTRIBUTES:
        words[cue] = getattr(thing, cue)
    if cue == "place" or rng.random() < place:
        across = "right" if thing.seen("x").mean() > 0.5 else "left"
        along = "bottom" if thing.seen("y").mean() > 0.5 else "top"
        words["place"] = across if rng.random() < 0.5 else along
    if not words:
        words["shape"] = thing.shape
    return Description(**words)
