"""Who marked which moments when: `annotations.jsonl` beside moments.json, a change a line.

A line is written at once and never changed, so that a process that is killed loses nothing that was
acknowledged; the latest line of an annotator about an expression is what counts.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tgl_e2e.data.base import Span
from tgl_e2e.data.faults import STRICT
from tgl_e2e.data.moments_json import merge, read_spans
from tgl_e2e.errors import InputError

ANNOTATIONS_NAME = "annotations.jsonl"
FOUND = ""  # the annotator of what stood in moments.json before anybody annotated
STATES = ("open", "done", "unclear")


@dataclass(frozen=True)
class Annotation:
    """What one annotator says about one expression.

    revision: 1 with the first change, one more with each; 0: nothing was said yet.
    time: of the change, UTC, as ISO 8601.
    objects: object -> inclusive spans of frame positions, ascending; they may touch.
    state: open (begun), done, or unclear: it cannot be told when the expression holds.
    missing: an object that the expression means is not listed.
    wrong: objects that are listed and not meant.
    """

    video: str
    expression: str
    annotator: str
    revision: int = 0
    time: str = ""
    objects: dict[str, list[Span]] = field(default_factory=dict)
    state: Literal["open", "done", "unclear"] = "open"
    missing: bool = False
    wrong: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def says_something(self) -> bool:
        return self.state != "open" or any(self.objects.values())


# (video, expression) -> annotator -> the latest annotation
Annotations = dict[tuple[str, str], dict[str, Annotation]]


def entry_of(latest: dict[str, Annotation]) -> dict[str, list[Span]] | None:
    """What moments.json says of an expression: the frames that any annotator names, as `merge`
    unites files. None: nothing, since nobody said anything or could tell."""
    found = latest.get(FOUND)
    said = [a for name, a in latest.items() if name != FOUND and (found or a.says_something)]
    told = [a for a in said or [found] if a is not None and a.state != "unclear"]
    if not told:
        return None
    merged, _ = merge({a.annotator: {a.video: {a.expression: a.objects}} for a in told})
    return merged[told[0].video][told[0].expression]


def read_annotations(path: Path) -> Annotations:
    """The latest annotations of a file; a last line that was cut by a kill counts as not there.

    Raises:
        InputError: the file cannot be read, or is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    latest: Annotations = {}
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            annotation = _parse(json.loads(line), path)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path}: line {number}: no annotation; restore the file, or remove the line"
            ) from None
        key = annotation.video, annotation.expression
        latest.setdefault(key, {})[annotation.annotator] = annotation
    return latest


def _parse(content: dict[str, Any], path: Path) -> Annotation:
    place = f"video {content['video']}, expression {content['expression']}"
    objects = {
        str(obj): read_spans(intervals, path, place, STRICT)
        for obj, intervals in content["objects"].items()
    }
    annotation = Annotation(**{**content, "objects": objects})
    names = (annotation.video, annotation.expression, annotation.annotator, annotation.note)
    if annotation.state not in STATES or not all(isinstance(name, str) for name in names):
        raise ValueError
    return annotation


class Journal:
    """Appends to an annotations.jsonl. One process at a time may: see `locked` of the files."""

    def __init__(self, path: Path):
        self._path = path
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):  # killed within a line, which nobody was told is written
                os.truncate(path, whole)

    def append(self, *annotations: Annotation) -> None:
        """Writes them, all or none; returns when they are on the disk.

        Raises:
            InputError: it cannot be written.
        """
        lines = [json.dumps(asdict(a), ensure_ascii=False) + "\n" for a in annotations]
        content = "".join(lines).encode("utf-8", "backslashreplace")
        try:
            with self._path.open("ab", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    if file.write(content) != len(content):
                        raise OSError(0, "the disk is full")
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None
