"""A moments.json against the videos, expressions and objects that it should speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tgl_e2e.data.base import ANY_OBJECT, Span
from tgl_e2e.data.check.findings import Findings, Kind
from tgl_e2e.data.check.listing import Listed
from tgl_e2e.data.files import MOMENTS_VERSION, read_json
from tgl_e2e.moments import inside

CORRECT = "Correct the interval."
IDS = "Correct the id, or remove the entry."
NO_FILE = Kind("moments.json is missing")
VERSION = Kind("moments.json of another version or form", "Write it again with this program.")
NO_VIDEO = Kind("moments of unknown videos", IDS)
NO_EXPRESSION = Kind("moments of unknown expressions", IDS)
NO_OBJECT = Kind("moments of unknown objects", IDS)
ENTRY_FORM = Kind('moments that are no {"objects": {id: [[start, end], ...]}}', CORRECT)
MISSING = Kind("expressions without an entry in moments.json", "Add their moments.")
OBJECT_MISSING = Kind("objects without moments", "Add their moments.")
MIXED = Kind('expressions with moments of "*" and of objects', 'Keep one of them: "*" or objects.')
NOT_MEANT = Kind("moments of expressions without target", "Remove them.")
BACKWARDS = Kind("moments that start after their end", CORRECT)
OUTSIDE = Kind("moments outside the video", CORRECT)
# An object may well be hidden for a while: a note.
UNSEEN = Kind("moments in which the object has no mask in some of the frames")
NEVER_SEEN = Kind("moments in which the object has no mask at all", CORRECT)

# video, expression, object -> (T,) bool, where it has a mask; None if that is not known
Visible = Callable[[str, str, str], np.ndarray | None]


def check_moments(
    path: Path, listing: Mapping[str, Listed], visible: Visible, findings: Findings
) -> None:
    """Adds what is wrong with a moments.json; InputError only if it is not JSON at all."""
    content = read_json(path, "it holds the moments")
    videos = content.get("videos") if isinstance(content, Mapping) else None
    if not isinstance(videos, Mapping) or content.get("version") != MOMENTS_VERSION:
        findings.add(VERSION, f"{path}: version 1 and videos are expected")
        return
    for name, entry in videos.items():
        expressions = entry.get("expressions") if isinstance(entry, Mapping) else None
        if name not in listing:
            findings.add(NO_VIDEO, f"video {name}")
        elif not isinstance(expressions, Mapping):
            findings.add(ENTRY_FORM, f"video {name}")
        else:
            for key in expressions:
                if key not in listing[name].expressions:
                    findings.add(NO_EXPRESSION, f"video {name}, expression {key}")
    for name, listed in listing.items():
        entry = videos.get(name)
        found = entry.get("expressions") if isinstance(entry, Mapping) else {}
        if not isinstance(found, Mapping):
            continue
        for key, objects in listed.expressions.items():
            where = f"video {name}, expression {key}"
            if key not in found:
                findings.add(MISSING, where)
                continue
            moments = found[key].get("objects") if isinstance(found[key], Mapping) else None
            if not isinstance(moments, Mapping):
                findings.add(ENTRY_FORM, where)
                continue
            _check_objects(moments, objects, where, findings)
            for obj, intervals in moments.items():
                here = f"{where}, object {obj}"
                spans = _spans(intervals, len(listed.frames), here, findings)
                _check_visible(
                    spans,
                    objects,
                    obj,
                    here,
                    findings,
                    lambda o, name=name, key=key: visible(name, key, o),
                )


def _check_objects(
    moments: Mapping[str, Any], objects: Mapping[str, Any] | None, where: str, findings: Findings
) -> None:
    if ANY_OBJECT in moments and len(moments) > 1:
        findings.add(MIXED, where)
    if objects is None:
        return
    if not objects and any(moments.values()):
        findings.add(NOT_MEANT, where)
        return
    for obj in moments:
        if obj not in objects and obj != ANY_OBJECT:
            findings.add(NO_OBJECT, f"{where}, object {obj}")
    if objects and ANY_OBJECT in moments:
        if not moments[ANY_OBJECT]:
            findings.add(OBJECT_MISSING, f"{where}, object {ANY_OBJECT}")
        return
    for obj in objects:
        if not moments.get(obj):
            findings.add(OBJECT_MISSING, f"{where}, object {obj}")


def _spans(intervals: Any, num_frames: int, where: str, findings: Findings) -> list[Span]:
    """The intervals that lie in the video."""
    if not isinstance(intervals, list):
        findings.add(ENTRY_FORM, where)
        return []
    spans = []
    for interval in intervals:
        if not _is_interval(interval):
            findings.add(ENTRY_FORM, f"{where}: {interval}")
        elif interval[0] > interval[1]:
            findings.add(BACKWARDS, f"{where}: {interval}")
        elif not 0 <= interval[0] <= interval[1] < num_frames:
            findings.add(OUTSIDE, f"{where}: {interval}, frames are 0 to {num_frames - 1}")
        else:
            spans.append((interval[0], interval[1]))
    return spans


def _is_interval(interval: Any) -> bool:
    return (
        isinstance(interval, list)
        and len(interval) == 2
        and all(isinstance(n, int) and not isinstance(n, bool) for n in interval)
    )


def _check_visible(
    spans: list[Span],
    objects: Mapping[str, Any] | None,
    obj: str,
    where: str,
    findings: Findings,
    visible: Callable[[str], np.ndarray | None],
) -> None:
    meant = (objects or ()) if obj == ANY_OBJECT else [o for o in objects or () if o == obj]
    masks = [mask for mask in map(visible, meant) if mask is not None]
    if not masks:
        return
    seen = np.logical_or.reduce(masks)
    for span in spans:
        shown = seen[inside(np.arange(len(seen)), [span])]
        if not shown.any():
            findings.add(NEVER_SEEN, f"{where}: {list(span)}")
        elif not shown.all():
            missing = int((~shown).sum())
            findings.add(UNSEEN, f"{where}: {list(span)}, {missing} frames")
