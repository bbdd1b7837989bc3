"""moments.json: read, held against what a data set lists, written, united.

{"version": 1, "videos": {video: {"expressions": {id: {"objects": {obj_id: [[start, end], ...]}}}}}}

Frame positions, inclusive; obj_id "*" where only the union is known. Ours, for no data set of the
field has moments.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tgl_e2e.data.base import ANY_OBJECT, Span, VideoRecord
from tgl_e2e.data.faults import STRICT, Faults, Kind
from tgl_e2e.errors import InputError
from tgl_e2e.files import read_json, write_text
from tgl_e2e.moments import inside, spans

MOMENTS_NAME = "moments.json"
MOMENTS_VERSION = 1
# Positions from here on are no frames of a video but a slip: milliseconds, or a lost separator.
MAX_FRAMES = 1_000_000

# video -> expression -> object (or ANY_OBJECT) -> spans; no object: no target
Moments = dict[str, dict[str, dict[str, list[Span]]]]

CORRECT = "correct the interval"
IDS = "correct the id, or remove the entry"
VERSION = Kind("moments.json of another version or form", "write it again with this program")
NO_VIDEO = Kind("moments of unknown videos", IDS)
NO_EXPRESSION = Kind("moments of unknown expressions", IDS)
NO_OBJECT = Kind("moments of unknown objects", IDS)
ENTRY_FORM = Kind('moments that are no {"objects": {id: [[start, end], ...]}}', CORRECT)
MISSING = Kind(
    "no entry in moments.json",
    "add the moments, or take what is annotated: python -m tgl_e2e.data.moments subset",
)
OBJECT_MISSING = Kind("objects without moments", "add their moments")
MIXED = Kind('moments of "*" and of objects', 'keep one of them: "*" or objects')
NOT_MEANT = Kind("moments of expressions without target", "remove them")
BACKWARDS = Kind("moments that start after their end", CORRECT)
OUTSIDE = Kind("moments outside the video", CORRECT)


def read_moments(path: Path, faults: Faults = STRICT) -> Any:
    """Reads a moments.json as `Moments`; None stands for whatever part of it is at fault.

    Raises:
        InputError: it is not there, or (with strict faults) any of it is not of the form.
    """
    try:
        content = read_json(path, "it holds the moments")
    except InputError as error:
        if not path.exists():
            raise
        faults.caught(VERSION, error)
        return None
    content = content if isinstance(content, dict) else {}
    videos, version = content.get("videos"), content.get("version")
    if not isinstance(videos, dict) or version != MOMENTS_VERSION:
        faults.error(VERSION, path, "", f"version {version!r}, {MOMENTS_VERSION} is read")
        return None

    def inner(entry: Any, key: str, place: str) -> dict | None:
        found = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(found, dict):
            return found
        faults.error(ENTRY_FORM, path, place)
        return None

    moments: dict[str, Any] = {}
    for video, entry in videos.items():
        moments[video] = known = inner(entry, "expressions", f"video {video}")
        for expression, value in (known or {}).items():
            place = f"video {video}, expression {expression}"
            known[expression] = objects = inner(value, "objects", place)
            for obj, intervals in (objects or {}).items():
                objects[obj] = read_spans(intervals, path, f"{place}, object {obj}", faults)
    return moments


def read_spans(intervals: Any, path: Path, place: str, faults: Faults) -> list[Span]:
    """Intervals as a file has them; those at fault are left out where faults are collected."""
    found = []
    if not isinstance(intervals, list):
        faults.error(ENTRY_FORM, path, place, intervals)
        return found
    for interval in intervals:
        pair = isinstance(interval, list) and [type(n) for n in interval] == [int, int]
        if not pair:
            faults.error(ENTRY_FORM, path, place, interval)
        elif interval[0] > interval[1]:
            faults.error(BACKWARDS, path, place, interval)
        elif interval[0] < 0 or interval[1] >= MAX_FRAMES:
            faults.error(OUTSIDE, path, place, interval)
        else:
            found.append((interval[0], interval[1]))
    return found


class MomentsFile:
    """A moments.json, held against the expressions of a data set.

    Raises:
        InputError: as :func:`read_moments`.
    """

    def __init__(self, path: Path, faults: Faults = STRICT):
        self.path = path
        self._faults = faults
        self._moments = read_moments(path, faults)

    def of(
        self, video: str, expression: str, num_frames: int, objects: Sequence[str] | None = None
    ) -> dict[str, tuple[Span, ...]] | None:
        """Object -> spans; a fault, and with collected faults None, without an entry.

        Args:
            objects: those that the expression means: a known union counts for each of them. None
                if they are not known: the moments come as the file has them.
        """
        place = f"video {video}, expression {expression}"
        known = None if self._moments is None else self._moments.get(video, {})
        if known is not None and expression not in known:
            self._faults.error(MISSING, self.path, place)
        found = known.get(expression) if known else None
        if found is None:
            return None
        if objects is not None:
            self._hold_against(found, objects, place)
        for obj, intervals in found.items():
            for start, end in intervals:
                if end >= num_frames:
                    detail = f"[{start}, {end}], frames are 0 to {num_frames - 1}"
                    self._faults.error(OUTSIDE, self.path, f"{place}, object {obj}", detail)
        kept = {obj: tuple(i for i in found[obj] if i[1] < num_frames) for obj in found}
        if objects is None:
            return kept
        union = kept.get(ANY_OBJECT, ())
        return {obj: kept.get(obj, union) for obj in objects}

    def _hold_against(
        self, found: Mapping[str, Sequence[Span]], objects: Sequence[str], place: str
    ) -> None:
        faults, path = self._faults, self.path
        if not objects:
            if any(intervals for obj, intervals in found.items() if obj != ANY_OBJECT):
                faults.error(NOT_MEANT, path, place)
            elif found.get(ANY_OBJECT):
                faults.warn(NOT_MEANT, path, place)
            return
        if ANY_OBJECT in found and len(found) > 1:
            faults.error(MIXED, path, place)
        for obj in found:
            if obj not in objects and obj != ANY_OBJECT:
                means = f"the expression means {', '.join(objects)}"
                faults.error(NO_OBJECT, path, f"{place}, object {obj}", means)
        for obj in [ANY_OBJECT] if ANY_OBJECT in found else objects:
            if obj not in found:
                faults.error(OBJECT_MISSING, path, f"{place}, object {obj}")
            elif not found[obj]:
                faults.warn(OBJECT_MISSING, path, f"{place}, object {obj}")

    def report_unknown(self, videos: Sequence[VideoRecord]) -> None:
        """Warns of moments of videos and expressions that a data set does not have."""
        known = {video.name: {e.id for e in video.expressions} for video in videos}
        for name, expressions in (self._moments or {}).items():
            if name not in known:
                self._faults.warn(NO_VIDEO, self.path, f"video {name}")
                continue
            for key in expressions or ():
                if key not in known[name]:
                    place = f"video {name}, expression {key}"
                    self._faults.warn(NO_EXPRESSION, self.path, place)


def write_moments(path: Path, moments: Moments) -> None:
    """Writes a moments.json: whole, or not at all."""
    write_entries(path, (entry_text(video, known) for video, known in moments.items()))


def entry_text(video: str, known: Mapping[str, Mapping[str, Sequence[Span]]]) -> str:
    """What moments.json says of one video, as it stands there."""
    entry = {"expressions": {key: {"objects": objects} for key, objects in known.items()}}
    return json.dumps({video: entry}, ensure_ascii=False)[1:-1]


def write_entries(path: Path, entries: Iterable[str]) -> None:
    """As :func:`write_moments`, of videos' texts: who changes one keeps those of the others."""
    text = f'{{"version": {MOMENTS_VERSION}, "videos": {{{", ".join(entries)}}}}}\n'
    write_text(path, text)


def entries_of(moments: Moments) -> Iterator[tuple[str, str, dict[str, list[Span]]]]:
    """Every expression that moments are known of: video, expression, object -> spans."""
    for video, known in moments.items():
        for expression, objects in known.items():
            yield video, expression, objects


def unite(intervals: Sequence[Span]) -> list[Span]:
    """The frames of any of these intervals as ascending spans that neither overlap nor touch."""
    frames = np.arange(max((end for _, end in intervals), default=-1) + 1)
    return spans(frames, inside(frames, intervals))


def merge(files: Mapping[str, Moments]) -> tuple[Moments, list[str]]:
    """The union of several files, and in words where they differ about the same thing.

    files: name -> moments; where they differ, frames count that any of them names.

    Raises:
        InputError: one file knows an expression's moments by object and another their union alone.
    """
    merged: Moments = {}
    origin: dict[tuple[str, ...], str] = {}  # the file that is the first to speak of something
    conflicts = []
    entries = [(name, *entry) for name, moments in files.items() for entry in entries_of(moments)]
    for name, video, expression, objects in entries:
        where = f"video {video}, expression {expression}"
        before = origin.setdefault((video, expression), name)
        together = merged.setdefault(video, {}).setdefault(expression, {})
        if before != name and bool(together) != bool(objects):
            says, denies = (before, name) if together else (name, before)
            conflicts.append(f"{where}: has a target in {says}, none in {denies}")
        for obj, intervals in objects.items():
            first, new = origin.setdefault((video, expression, obj), name), unite(intervals)
            old = together.setdefault(obj, new)
            if new != old:
                conflicts.append(
                    f"{where}, object {obj}: {shown(old)} in {first}, {shown(new)} in {name}"
                )
            together[obj] = unite([*old, *new])
        if ANY_OBJECT in together and len(together) > 1:
            raise InputError(
                f"{name}: {where}: moments by object here and of '{ANY_OBJECT}' in {before}, or "
                "the other way round; keep one of them"
            )
    return merged, conflicts


def shown(intervals: Sequence[Span]) -> str:
    """For people: "[2, 5], [8, 9]"."""
    return ", ".join(f"[{start}, {end}]" for start, end in intervals) or "nothing"
