"""Which objects of a scene does a description mean, and when?

Targets are always computed from the scene, never taken from the object a description was made for.
Where a person could disagree (a falling thing also moves down; a growing thing is small, then big)
the answer is None, "ambiguous", and the description is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tgl_e2e.data.nouns import names_of

from .motions import DIRECTIONS, EASY_MOTIONS, TRAVELLING, WITH_PARTNER
from .scene import CUES, SceneObject, Segment, Span

ATTRIBUTES = ("colour", "shape", "fill", "size")
Matches = dict[int, list[Span]]  # object index -> its moments

# How far apart, in frame sides, objects must keep for one of them to be "the one on the left".
PLACE_MARGIN = 0.13
# Pauses from this length on are called one; shorter ones are a matter of taste.
PAUSE, HESITATION = 6, 2


@dataclass(frozen=True)
class Action:
    """Something an object does; direction and partner narrow it down."""

    motion: str
    direction: str | None = None
    partner: Description | None = None


@dataclass(frozen=True)
class Description:
    """What a noun phrase with its verb says; None where it says nothing.

    place: "left", "right", "top" or "bottom". then: a second action, after the first.
    """

    colour: str | None = None
    shape: str | None = None
    fill: str | None = None
    size: str | None = None
    place: str | None = None
    action: Action | None = None
    then: Action | None = None

    def appearance(self) -> Description:
        """The description without its actions."""
        return replace(self, action=None, then=None)

    def without(self, cue: str) -> Description:
        """The description with one cue left out."""
        return self.appearance() if cue == "motion" else replace(self, **{cue: None})


def resolve(objects: Sequence[SceneObject], description: Description) -> Matches | None:
    """The objects that a description means with their moments, {} for none, None if ambiguous."""
    matches: Matches = {}
    for index, thing in enumerate(objects):
        looks = _looks_so(thing, description)
        if looks is False:
            continue
        spans = _moments(objects, index, description)
        if spans == []:
            continue
        changes = any(segment.motion in ("growing", "shrinking") for segment in thing.segments)
        if spans is None or looks is None or (description.size is not None and changes):
            return None
        if description.size in (None, thing.size):
            matches[index] = spans
    return _placed(objects, matches, description.place)


def necessary_cues(
    objects: Sequence[SceneObject], descriptions: Sequence[Description]
) -> frozenset[str]:
    """The cues without which the set of objects is not determined: those of all that one sentence
    describes, each of which its description cannot do without."""
    needed = set()
    for description in descriptions:
        meant = resolve(objects, description)
        for cue in CUES:
            less = description.without(cue)
            left_out = meant if less == description else resolve(objects, less)
            if left_out is None or set(left_out) != set(meant):
                needed.add(cue)
    return frozenset(needed)


def decided_by_appearance(
    objects: Sequence[SceneObject], descriptions: Sequence[Description], targets: set[int]
) -> bool:
    """Whether the words about appearance and place alone pick exactly the targets."""
    found = [resolve(objects, description.appearance()) for description in descriptions]
    return None not in found and {i for matches in found for i in matches} == targets


def overlaps(a: Segment, start: int, end: int) -> bool:
    """Whether a segment shares a frame with start..end."""
    return a.start <= end and start <= a.end


def _looks_so(thing: SceneObject, description: Description) -> bool | None:
    """Whether colour, fill and noun are an object's; None if one may say so or not."""
    noun, colour = description.shape, description.colour
    if description.fill not in (None, thing.fill):
        return False
    if colour not in (None, thing.colour) and thing.colour is not None:
        return False
    unclear = colour is not None and thing.colour is None
    if noun not in (None, thing.shape) and noun not in thing.names:
        # It may be one, if the noun narrows down what it is called: a parrot, where a bird is seen.
        if not thing.names or thing.shape not in names_of(noun):
            return False
        unclear = True
    return None if unclear else True


def _moments(
    objects: Sequence[SceneObject], index: int, description: Description
) -> list[Span] | None:
    """When an object does what is described; the whole video if nothing is."""
    if description.action is None:
        return [(0, len(objects[index].x) - 1)]
    first = _spans(objects, index, description.action)
    if description.then is None or first is None:
        return first
    second = _spans(objects, index, description.then)
    if second is None:
        return None
    if not first or not second:
        return []
    # "A then B": every A that a B follows, every B that an A went before.
    first = [span for span in first if span[1] < second[-1][0]]
    return sorted({*first, *(span for span in second if first and span[0] > first[0][1])})


def _spans(objects: Sequence[SceneObject], index: int, action: Action) -> list[Span] | None:
    """The spans in which an object does something; None if one of them is ambiguous."""
    partner = None
    if action.partner is not None:
        found = resolve(objects, action.partner)
        if found is None or len(found) != 1:
            return None
        partner = next(iter(found))
        if partner == index:
            return []
    thing, other = objects[index], None if partner is None else objects[partner]
    verdicts = [_judge(thing, segment, action, partner, other) for segment in thing.segments]
    if None in verdicts or (action.motion == "stopping" and _hesitates(thing)):
        return None
    return [(s.start, s.end) for s, said in zip(thing.segments, verdicts, strict=True) if said]


def _judge(
    thing: SceneObject,
    segment: Segment,
    action: Action,
    partner: int | None,
    other: SceneObject | None,
) -> bool | None:
    """Whether a segment is what the action says; None if one may say so or not. other: the
    action's partner."""
    asked, shown = action.motion, segment.motion
    if asked in EASY_MOTIONS:
        direction = asked.removeprefix("moving ")
        if shown in (*EASY_MOTIONS, "rolling"):
            return segment.direction == direction
        if shown in ("falling", "jumping", "circling"):
            vertical = direction in ("up", "down")
            return None if vertical or shown == "circling" else False
        if shown in ("entering", "leaving", "approaching", "following"):
            track = np.stack([thing.x, thing.y], 1)
            way = track[segment.end] - track[segment.start]
            share = float(way @ DIRECTIONS[direction] / max(np.hypot(*way), 1e-9))
            return None if share > 0.3 else False
        return False
    if asked == "rolling":
        return shown == asked and action.direction in (None, segment.direction)
    if asked in WITH_PARTNER and shown == asked and segment.partner == partner:
        return True
    if asked == "approaching":
        gap = np.hypot(thing.x - other.x, thing.y - other.y)
        return None if gap[segment.start] - gap[segment.end] > 0.06 else False
    if asked == "following":
        if shown not in TRAVELLING or segment.direction is None:
            return False
        alongside = any(
            one.direction == segment.direction and overlaps(one, segment.start, segment.end)
            for one in other.segments
        )
        return None if alongside else False
    if (asked, shown) in (("falling", "moving down"), ("spinning", "rolling")):
        return None
    return shown == asked


def _hesitates(thing: SceneObject) -> bool:
    """Whether it rests between two motions in a way that may be called a pause or not."""
    return any(
        "stopping" not in (before.motion, after.motion)
        and after.start - before.end - 1 >= HESITATION
        for before, after in pairwise(thing.segments)
    )


def pauses(segments: Sequence[Segment]) -> list[Segment]:
    """The segments with every clear pause between two travels added as "stopping"."""
    result: list[Segment] = []
    for segment in segments:
        if result:
            before = result[-1]
            both_travel = before.motion in TRAVELLING and segment.motion in TRAVELLING
            if both_travel and segment.start - before.end - 1 >= PAUSE:
                result.append(Segment("stopping", before.end + 1, segment.start - 1))
        result.append(segment)
    return result


def _placed(objects: Sequence[SceneObject], matches: Matches, place: str | None) -> Matches | None:
    """Of the matches, the one on the left (or ...) during the whole video."""
    if place is None or not matches:
        return matches
    axis, sign = {"left": ("x", 1), "right": ("x", -1), "top": ("y", 1), "bottom": ("y", -1)}[place]
    # Distance from the named side: largest and smallest over the video.
    tracks = {i: sign * (objects[i].seen(axis) - 0.5) for i in matches}
    best = min(tracks, key=lambda i: tracks[i].max())
    farthest = tracks[best].max()
    others = [tracks[i].min() for i in tracks if i != best]
    if others:
        clear = farthest < -0.02 and min(others) - farthest > PLACE_MARGIN
        return {best: matches[best]} if clear else None
    if farthest < -0.08:
        return matches
    return {} if tracks[best].min() > 0.08 else None
