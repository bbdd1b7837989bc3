"""Results of an evaluation as they come, so that one that was killed can go on where it was.

One file of JSON lines: first what the evaluation is, then one line per finished video. Each
process of several would write a file of its own; all of them are read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tgl_e2e.errors import InputError


class PartialResults:
    """The finished videos of one evaluation.

    folder: where the files lie, made if missing.
    identity: settings that results depend on, plain values; results of others are refused.
    process: number of this process, for the name of the file it writes.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], resume: bool, process: int = 0):
        self.finished: dict[str, dict[str, Any]] = {}
        self._folder = folder
        self._folder_is_new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = self._files()
            if old and not resume:
                raise InputError(
                    f"{folder}: holds the beginning of an evaluation; add --resume to go on with "
                    f"it, or remove {old[0].name} to start again"
                )
            for path in old:
                self._read(path, identity)
            path = folder / f"partial-{process}.jsonl"
            known = path.exists()
            self._file = path.open("a", encoding="utf-8")
            if not known:
                self._append({"identity": identity})
        except OSError as error:
            raise InputError(f"{folder}: cannot be written to ({error.strerror})") from None

    def add(self, video: str, result: dict[str, Any]) -> None:
        """Notes a finished video; on disk when this returns."""
        self.finished[video] = result
        self._append({"video": video, "result": result})

    def close(self) -> None:
        """Ends the writing; what holds no finished video is not left behind."""
        self._file.close()
        if not self.finished:
            self.remove()
            if self._folder_is_new and not any(self._folder.iterdir()):
                self._folder.rmdir()

    def remove(self) -> None:
        """Deletes the files: everything is in the final ones."""
        self._file.close()
        for path in self._files():
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("partial-*.jsonl"))

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path, identity: dict[str, Any]) -> None:
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # killed in the middle of a line: forget its beginning
            os.truncate(path, len(whole))
        if not whole:
            path.unlink()
            return
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()]
            before = first["identity"]
            finished = {line["video"]: line["result"] for line in lines}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: damaged, remove it and start again") from None
        for key in identity:
            if before.get(key) != identity[key]:
                raise InputError(
                    f"{path}: was begun with {key} {before.get(key)!r}, now it is "
                    f"{identity[key]!r}; use the same settings, or another --output"
                )
        self.finished.update(finished)
