"""Results of an evaluation as they come, so that one that was killed can go on where it was.

Each process appends to a file of its own, in JSON lines: first what the evaluation is, then one
line per finished video. All files are read, however many processes wrote them.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from tgl_e2e.errors import InputError
from tgl_e2e.files import locked

Finished = dict[str, dict[str, Any]]  # video -> its result


class PartialResults:
    """The finished videos of one evaluation.

    Of several processes the main one calls `begin`, then each of them `read`, and only when all
    have read may one of them `add`.

    Args:
        folder: where the files lie.
        identity: settings that results depend on, plain values; results of others are refused.
        process: number of this process, for the name of the file it writes.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], process: int = 0) -> None:
        self.folder = folder
        self._identity = identity
        self._path = folder / f"partial-{process}.jsonl"
        self._file = None
        self._folder_is_new = False
        self._lock = contextlib.ExitStack()

    def begin(self, resume: bool) -> None:
        """Makes the folder; mends what a kill left in the middle of a line.

        Raises:
            InputError: there are results already and `resume` is not set, or they are of another
                evaluation, or damaged; or the folder cannot be written to.
        """
        self._folder_is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = locked(self.folder / ".lock", f"{self.folder}: another evaluation")
            self._lock.enter_context(lock)
            old = self._files()
            if old and not resume:
                raise InputError(
                    f"{self.folder}: holds the beginning of an evaluation; add --resume to go on "
                    f"with it, or remove {', '.join(p.name for p in old)} to start again"
                )
            for path in old:
                _drop_broken_line(path)
            self.read()
        except (OSError, InputError) as error:
            self._lock.close()
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.folder}: cannot be written to ({error.strerror})") from None

    def read(self) -> Finished:
        """What all processes have finished so far; InputError as in `begin`."""
        finished: Finished = {}
        for path in self._files():
            finished |= self._read(path)
        return finished

    def add(self, video: str, result: dict[str, Any]) -> None:
        """Notes a finished video; on disk when this returns."""
        lines = [{"video": video, "result": result}]
        if self._file is None:
            if not self._path.exists():
                lines.insert(0, {"identity": self._identity})
            self._file = self._path.open("a", encoding="utf-8")
        self._file.writelines(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Ends the writing; the folder is anybody's again, and gone if nothing was finished."""
        self._lock.close()
        if self._file is not None:
            self._file.close()
        elif self._folder_is_new and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def remove(self) -> None:
        """Deletes the files: everything is in the final ones, or nothing was finished."""
        for path in self._files():
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("partial-*.jsonl"))

    def _read(self, path: Path) -> Finished:
        try:
            first, *lines = [json.loads(line) for line in path.read_bytes().splitlines()]
            before = first["identity"]
            finished = {line["video"]: line["result"] for line in lines}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged, remove it and start again") from None
        for key, value in self._identity.items():
            if before.get(key) != value:
                raise InputError(
                    f"{path}: was begun with {key} {before.get(key)!r}, now it is {value!r}; "
                    f"use the same settings, or another --output"
                )
        return finished


def _drop_broken_line(path: Path) -> None:
    """Forgets the beginning of a line that was never finished."""
    whole = path.read_bytes().rfind(b"\n") + 1
    if whole:
        os.truncate(path, whole)
    else:
        path.unlink()
