"""Moments of one split as annotators change them: annotations.jsonl first, then moments.json."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from tgl_e2e.data.annotations import (
    ANNOTATIONS_NAME,
    FOUND,
    Annotation,
    Annotations,
    Journal,
    entry_of,
    read_annotations,
)
from tgl_e2e.data.base import Span
from tgl_e2e.data.moments_json import MOMENTS_NAME, Moments, entry_text, read_moments, write_entries
from tgl_e2e.errors import InputError
from tgl_e2e.files import locked

LOCK_NAME = ".annotations.lock"


class Conflict(Exception):
    """Somebody else changed it meanwhile. current: as it is now."""

    def __init__(self, current: Annotation):
        super().__init__("changed in another window meanwhile")
        self.current = current


class Store:
    """Context manager; while it lasts, no other process annotates this split.

    Args:
        folder: of the split.

    Raises:
        InputError: on entering: another process annotates there, the folder cannot be written to,
            or one of its two files is damaged.
    """

    def __init__(self, folder: Path):
        self._moments_path = folder / MOMENTS_NAME
        self._path = folder / ANNOTATIONS_NAME
        self._folder = folder
        self._mutex = threading.Lock()
        self._exit = ExitStack()
        self._latest: Annotations = {}
        self._moments: Moments = {}
        self._texts: dict[str, str] = {}  # of videos' entries, as they were last written
        self._seen: tuple[int, int] | None = None  # moments.json as we read or wrote it last

    def __enter__(self) -> Store:
        try:
            self._exit.enter_context(locked(self._folder / LOCK_NAME, str(self._folder)))
        except InputError:
            raise InputError(
                f"{self._folder}: another tgl_e2e.app annotates there; use its page, or end it"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self._journal = Journal(self._path)
            self._latest = read_annotations(self._path) if self._path.exists() else {}
            self._read_others()
            # What a kill between the two files left out of the second one.
            if any([self._enter(*key) for key in self._latest]):
                self._write()
        except OSError as error:
            self._exit.close()
            raise self._unwritable(error) from None
        except InputError:
            self._exit.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def annotation(self, video: str, expression: str, annotator: str) -> Annotation:
        """The latest of an annotator; before the first, what stood in moments.json."""
        known = self._latest.get((video, expression), {})
        if annotator in known:
            return known[annotator]
        objects = self.found(video, expression) or {}
        return Annotation(video, expression, annotator, objects=objects)

    def found(self, video: str, expression: str) -> dict[str, list[Span]] | None:
        """What moments.json said before anybody annotated the expression; None: nothing."""
        known = self._latest.get((video, expression))
        if known is None:
            return self._moments.get(video, {}).get(expression)
        return known[FOUND].objects if FOUND in known else None

    def states(self, video: str, expression: str) -> dict[str, Annotation]:
        """The latest of every annotator."""
        known = self._latest.get((video, expression), {})
        return {name: a for name, a in known.items() if name != FOUND}

    def save(self, change: Annotation) -> Annotation:
        """Writes a change at once, to both files.

        change: its revision is that of the annotation it was made from.
        returns: the annotation with its own revision and time.

        Raises:
            Conflict: what it was made from is not the latest of this annotator any more.
            InputError: it cannot be written.
        """
        with self._mutex:
            key = change.video, change.expression
            self._read_others()
            before = self.annotation(*key, change.annotator)
            if before.revision != change.revision:
                self._write()  # the first try may have got as far as the journal
                raise Conflict(before)
            now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            change = replace(change, revision=before.revision + 1, time=now)
            lines = [change]
            if key not in self._latest and (found := self.found(*key)) is not None:
                lines.insert(0, Annotation(*key, FOUND, time=now, objects=found))
            self._journal.append(*lines)
            known = self._latest.setdefault(key, {})
            known |= {line.annotator: line for line in lines}
            if self._enter(*key):
                self._write()
            return change

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self._folder}: cannot be written ({error.strerror}); to annotate, copy the data set "
            "to where it can"
        )

    def _enter(self, video: str, expression: str) -> bool:
        """Brings an expression's entry of moments.json up to date; whether it changed."""
        entry = entry_of(self._latest[video, expression])
        known = self._moments.setdefault(video, {})
        if known.get(expression) == entry:
            return False
        self._texts.pop(video, None)
        if entry is None:
            del known[expression]
        else:
            known[expression] = entry
        return True

    def _read_others(self) -> None:
        """What another program has written into moments.json about expressions without annotations
        stays there; about the others, annotators have the last word."""
        if self._stamp() in (self._seen, None):
            return
        moments = read_moments(self._moments_path)
        for (video, expression), _ in self._latest.items():
            mine = self._moments.get(video, {}).get(expression)
            if mine is not None:
                moments.setdefault(video, {})[expression] = mine
        self._moments = moments
        self._texts.clear()
        self._seen = self._stamp()

    def _write(self) -> None:
        for video, known in self._moments.items():
            if video not in self._texts:  # of 1,600 videos, all texts take 0.1 s
                self._texts[video] = entry_text(video, known) if known else ""
        write_entries(self._moments_path, filter(None, map(self._texts.get, self._moments)))
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._moments_path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_size
