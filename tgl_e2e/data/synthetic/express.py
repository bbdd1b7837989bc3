"""Expressions of each kind about a laid-out scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tgl_e2e.data.nouns import pick

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
from .plan import held_out
from .scene import Expression, SceneObject, Segment, Setting, covered

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
    speaker = _Speaker(setting, objects, wish, rng)
    draw = getattr(speaker, wish.kind)
    for _ in range(TRIES):
        descriptions = draw()
        expression = descriptions and speaker.checked(descriptions)
        if expression:
            return expression
    return None


@dataclass(frozen=True)
class _Speaker:
    """Draws descriptions of what a scene shows: one method for each of KINDS, which returns None
    where a draw leads nowhere."""

    setting: Setting
    objects: Sequence[SceneObject]
    wish: Wish
    rng: np.random.Generator

    def appearance(self) -> list[Description]:
        return [self._looks(self._target(), self.wish.cue, place=0.15)]

    def attribute(self) -> list[Description] | None:
        index, action = self._who_does()
        return action and [replace(self._looks(index, self.wish.cue), action=action)]

    def motion(self) -> list[Description] | None:
        _, action = self._who_does()
        return action and [Description(action=action)]

    def several(self) -> list[Description] | None:
        first = self.attribute()
        if first is None or self.rng.random() < 0.2:
            return first  # may turn out to be a plural
        others = replace(self, wish=Wish(self.wish.kind))
        count = 2 if len(self.objects) > 2 and self.rng.random() < 0.12 else 1
        more = [others.attribute() for _ in range(count)]
        return None if None in more else first + [one[0] for one in more]

    def compound(self) -> list[Description] | None:
        index = self._target()
        segments = [s for s in self.objects[index].segments if s.motion != "stopping"]
        if len(segments) < 2:
            return None
        at = int(self.rng.integers(len(segments) - 1))
        pair = segments[at : at + 2]
        if self.wish.motion is not None and self.wish.motion not in (s.motion for s in pair):
            return None
        first, second = (self._action(segment) for segment in pair)
        if first is None or second is None:
            return None
        looks = Description()
        if self.rng.random() >= 0.15:
            looks = self._looks(index, self.wish.cue)
        return [replace(looks, action=first, then=second)]

    def no_target(self) -> list[Description] | None:
        """A near miss: looks of one object, motion of another, one word changed now and then."""
        looks = self._looks(int(self.rng.integers(len(self.objects))))
        if self.setting.static:  # nothing moves, so a word of looks has to be the wrong one
            return [self._one_changed(looks, "shape")]
        _, action = replace(self, wish=Wish("attribute"))._who_does()
        if action is None or self.rng.random() < 0.4:
            free = [m for m in self.setting.motions if m not in (*WITH_PARTNER, "stopping")]
            action = Action(str(self.rng.choice(free)))
        if self.rng.random() < 0.3:
            looks = self._one_changed(looks, "colour")
        if self.rng.random() < 0.2:
            looks = Description()
        if self.setting.split != "valid" and held_out(action.motion, looks.colour, looks.shape):
            return None  # else "never true" would be all that training says about such a pair
        return [replace(looks, action=action)]

    def checked(self, descriptions: list[Description]) -> Expression | None:
        """The expression, if what the descriptions mean is clear and as wished."""
        wish, objects = self.wish, self.objects
        found = [resolve(objects, description) for description in descriptions]
        if None in found:
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
        share = covered(moments.values(), len(objects[0].x)).mean()
        if moments and not self.setting.static and not SHARE[0] <= share <= SHARE[1]:
            return None
        decided = decided_by_appearance(objects, descriptions, set(moments))
        if decided and not wish.decided:
            return None
        cues = necessary_cues(objects, descriptions)
        if wish.cue is not None and wish.cue not in cues:
            return None
        moments = {index: moments[index] for index in sorted(moments)}
        text = sentence(descriptions, self.rng, plural)
        return Expression(text, tuple(moments), moments, wish.kind, cues, decided)

    def _target(self) -> int:
        if self.wish.target is not None:
            return self.wish.target
        return int(self.rng.integers(len(self.objects)))

    def _who_does(self) -> tuple[int, Action | None]:
        """An object and one of its actions, as far as the wish leaves them open."""
        index = self._target()
        segments = [s for s in self.objects[index].segments if self.wish.motion in (None, s.motion)]
        return index, self._action(pick(segments, self.rng)) if segments else None

    def _action(self, segment: Segment) -> Action | None:
        if segment.partner is not None:
            partner = self._looks(segment.partner, place=0)
            found = resolve(self.objects, partner)
            return Action(segment.motion, partner=partner) if found and len(found) == 1 else None
        if segment.motion == "rolling" and self.rng.random() < 0.5:
            return Action("rolling", segment.direction)
        return Action(segment.motion)

    def _one_changed(self, looks: Description, otherwise: str) -> Description:
        """Looks with another colour or shape, where one is said; `otherwise` says which to add."""
        said = [name for name in ("colour", "shape") if getattr(looks, name)] or [otherwise]
        name = str(self.rng.choice(said))
        return replace(looks, **{name: str(self.rng.choice(self.setting.values(name)))})

    def _looks(self, index: int, cue: str | None = None, place: float = 0.06) -> Description:
        """Some words about an object's appearance. place: how often it is said where it is."""
        rng, thing = self.rng, self.objects[index]
        # A small elephant is not small beside a big cup: things are measured against their like.
        peers = [o for o in self.objects if not thing.names or o.shape == thing.shape]
        varied = {name: len({getattr(o, name) for o in peers}) > 1 for name in ATTRIBUTES}
        chance = {
            "colour": 0.6,
            "shape": 0.7,
            "fill": 0.35 if varied["fill"] else 0.04 * (thing.fill != "plain"),
            "size": 0.25 if varied["size"] else 0,  # "big" means nothing among equals
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
        return Description(**(words or {"shape": thing.shape}))


def _right_number(wish: Wish, found: Sequence[Matches], plural: bool) -> bool:
    """Whether as many objects are meant as the sentence will say."""
    if wish.kind == "no_target":
        return not any(found)
    if wish.kind == "several":
        spans = [span for matches in found for span in matches.values()]
        # Moments of their own: not all the same.
        return (plural or all(len(m) == 1 for m in found)) and len({str(s) for s in spans}) > 1
    return len(found[0]) > 0 if wish.kind == "appearance" else len(found[0]) == 1
