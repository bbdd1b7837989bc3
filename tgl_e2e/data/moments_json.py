"""moments.json as a whole: read, written, united."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tgl_e2e.data.base import ANY_OBJECT, Span
from tgl_e2e.data.files import MOMENTS_VERSION, read_json
from tgl_e2e.errors import InputError
from tgl_e2e.files import write_text
from tgl_e2e.moments import inside, spans

# Positions from here on are no frames of a video but a slip: milliseconds, or a lost separator.
MAX_FRAMES = 1_000_000

# video -> expression -> object (or ANY_OBJECT) -> spans; no object: no target
Moments = dict[str, dict[str, dict[str, list[Span]]]]


def read_moments(path: Path) -> Moments:
    """Reads a moments.json; InputError if any of it is not of the form."""
    content = read_json(path, "it holds the moments")
    if not isinstance(content, Mapping) or content.get("version") != MOMENTS_VERSION:
        raise InputError(f"{path}: no moments.json of version {MOMENTS_VERSION}")
    moments: Moments = {}
    where = "videos"
    try:
        for video, entry in content["videos"].items():
            for expression, known in entry["expressions"].items():
                where = f"video {video}, expression {expression}"
                moments.setdefault(video, {})[expression] = {
                    str(obj): [read_span(*interval) for interval in intervals]
                    for obj, intervals in known["objects"].items()
                }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise InputError(
            f'{path}: {where}: should hold {{"objects": {{id: [[start, end], ...]}}}}{reason}'
        ) from None
    return moments


def read_span(start: object, end: object) -> Span:
    """An interval as a file has it; ValueError, in words, if it is none."""
    for value in (start, end):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{value!r} is no frame position")
    if not 0 <= start <= end < MAX_FRAMES:
        raise ValueError(f"[{start}, {end}] is no interval of frame positions")
    return start, end


def write_moments(path: Path, moments: Moments) -> None:
    """Writes a moments.json: whole, or not at all."""
    content = {
        "version": MOMENTS_VERSION,
        "videos": {
            video: {"expressions": {key: {"objects": objects} for key, objects in known.items()}}
            for video, known in moments.items()
        },
    }
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def unite(intervals: Sequence[Span]) -> list[Span]:
    """The frames of any of these intervals as ascending spans that neither overlap nor touch."""
    if not intervals:
        return []
    frames = np.arange(max(end for _, end in intervals) + 1)
    return spans(frames, inside(frames, intervals))


def merge(files: Mapping[str, Moments]) -> tuple[Moments, list[str]]:
    """The union of several files, and in words where they differ about the same thing.

    files: name -> moments; where they differ, frames count that any of them names.

    Raises:
        InputError: one file knows an expression's moments by object and another their union alone.
    """
    merged: Moments = {}
    origin: dict[tuple[str, str, str], str] = {}  # where an object's spans come from first
    first: dict[tuple[str, str], str] = {}  # where an expression comes from first
    conflicts = []
    for name, moments in files.items():
        for video, known in moments.items():
            for expression, objects in known.items():
                where = f"video {video}, expression {expression}"
                before = first.setdefault((video, expression), name)
                together = merged.setdefault(video, {}).setdefault(expression, {})
                if before != name and bool(together) != bool(objects):
                    says, denies = (before, name) if together else (name, before)
                    conflicts.append(f"{where}: has a target in {says}, none in {denies}")
                for obj, intervals in objects.items():
                    key, here = (video, expression, obj), f"{where}, object {obj}"
                    new = unite(intervals)
                    if obj not in together:
                        together[obj] = new
                        origin[key] = name
                        continue
                    if new != together[obj]:
                        conflicts.append(
                            f"{here}: {shown(together[obj])} in {origin[key]}, "
                            f"{shown(new)} in {name}"
                        )
                    together[obj] = unite([*together[obj], *new])
                if ANY_OBJECT in together and len(together) > 1:
                    raise InputError(
                        f"{name}: {where}: moments by object here and of '{ANY_OBJECT}' in "
                        f"{before}, or the other way round; keep one of them"
                    )
    return merged, conflicts


def shown(intervals: Sequence[Span]) -> str:
    """For people: "[2, 5], [8, 9]"."""
    return ", ".join(f"[{start}, {end}]" for start, end in intervals) or "nothing"
