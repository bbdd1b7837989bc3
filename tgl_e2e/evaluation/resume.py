"""Results of an evaluation as they come, so that one that was killed can go on where it was.

Each finished video is a file of its own, which appears whole or not at all, whatever process it
comes from.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from pathlib import Path
from typing import Any

from tgl_e2e.errors import InputError
from tgl_e2e.files import locked, write_text

Finished = dict[str, dict[str, Any]]  # video -> its result


class PartialResults:
    """The finished videos of one evaluation.

    Of several processes the main one calls `begin`, then each of them `read`, and only when all
    have read may one of them `add`.

    Args:
        folder: where the files lie.
        identity: settings that results depend on, plain values; results of others are refused.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        self._identity = identity
        self._folder_is_new = False
        self._lock = contextlib.ExitStack()

    def begin(self, resume: bool) -> None:
        """Makes the folder.

        Raises:
            InputError: there are results already and `resume` is not set, or they are of another
                evaluation, or damaged; or the folder cannot be written to.
        """
        self._folder_is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = locked(self.folder / ".lock", f"{self.folder}: another evaluation")
            self._lock.enter_context(lock)
            if self._files() and not resume:
                raise InputError(
                    f"{self.folder}: holds the beginning of an evaluation; add --resume to go on "
                    f"with it, or remove its partial-*.json to start again"
                )
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
            try:
                note = json.loads(path.read_bytes())
                before, finished[note["video"]] = note["identity"], note["result"]
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path}: damaged, remove it and start again") from None
            for key, value in self._identity.items():
                if before.get(key) != value:
                    raise InputError(
                        f"{path}: was begun with {key} {before.get(key)!r}, now it is {value!r}; "
                        f"use the same settings, or another --output"
                    )
        return finished

    def add(self, video: str, result: dict[str, Any]) -> None:
        """Notes a finished video; on disk when this returns."""
        note = {"identity": self._identity, "video": video, "result": result}
        path = self.folder / f"partial-{uuid.uuid4().hex}.json"  # any process, any video's name
        write_text(path, json.dumps(note, allow_nan=False))

    def close(self) -> None:
        """Ends the writing; the folder is anybody's again, and gone if nothing was finished."""
        self._lock.close()
        if self._folder_is_new and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def remove(self) -> None:
        """Deletes the files, and what a kill left half written: everything is in the final ones."""
        for path in [*self._files(), *self.folder.glob(".*.partial")]:
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("partial-*.json"))
