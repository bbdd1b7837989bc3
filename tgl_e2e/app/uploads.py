"""Videos that come from a browser: bounded in size, of known formats, gone at the end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tgl_e2e
from tgl_e2e.errors import InputError
from tgl_e2e.files import try_lock

PREFIX, LOCK_NAME = "tgl-app-", "in-use"
# FFmpeg's readers that open nothing but the file itself. Playlists (hls, dash, concat) and image
# patterns name other files, on this machine or elsewhere: they are for their owner alone.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,ogg,flv,h264,hevc"
UNSAFE = re.compile(r'[\\/:*?"<>|]')
MAX_SIDE = 8192  # pixels
PROBE_SECONDS = 60
KEPT = 20  # uploads; the oldest makes room


@dataclass(frozen=True)
class Upload:
    """A video of a visitor. name: as the visitor called it; path: as it lies here."""

    id: str
    name: str
    path: Path


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end. Those of processes that were killed go now."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError), (old / LOCK_NAME).open("a") as lock:
            if old.stat().st_uid == os.getuid() and try_lock(lock):
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (folder / LOCK_NAME).open("a") as lock:
            try_lock(lock)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Uploads:
    """folder: where they are kept; limit: bytes of one."""

    def __init__(self, folder: Path, limit: int):
        self._folder = folder / "uploads"
        self._folder.mkdir()
        self.limit = limit
        self._known: dict[str, Upload] = {}

    def get(self, name: str) -> Upload:
        if name not in self._known:
            raise InputError("this video is not kept any longer; choose it again")
        return self._known[name]

    def new_path(self) -> Path:
        """Where to write an upload to: its own name says nothing here."""
        return self._folder / f"{secrets.token_urlsafe(12)}.video"

    def check_size(self, size: int) -> None:
        if size > self.limit:
            raise InputError(
                f"the video is larger than {self.limit // 2**20} MB; cut or compress it, or start "
                "the page with a larger --max-upload"
            )

    def accept(self, path: Path, name: str) -> tuple[Upload, dict]:
        """Takes a written upload in, or removes it and raises InputError; what is known of it."""
        name = "".join(c for c in Path(name).name if c.isprintable())
        name = UNSAFE.sub("_", name)[-120:].lstrip(". ") or "video"  # it names a zip's folder too
        try:
            facts = probe(path, name)
        except InputError:
            path.unlink(missing_ok=True)
            raise
        upload = Upload(path.stem, name, path)
        self._known[upload.id] = upload
        for old in list(self._known)[:-KEPT]:
            self._known.pop(old).path.unlink(missing_ok=True)
        return upload, facts


def probe(path: Path, name: str) -> dict:
    """Opens a stranger's file in a process of its own, which may crash or hang.

    returns: size [H, W], fps, num_frames (None: not known). Raises InputError, in `name`'s terms.
    """
    package = str(Path(tgl_e2e.__file__).parents[1])
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "tgl_e2e.app.uploads", str(path)],
            env={**os.environ, "PYTHONPATH": package},
            capture_output=True,
            timeout=PROBE_SECONDS,
            text=True,
        )
        facts = json.loads(answer.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise InputError(f"{name}: cannot be opened as a video; convert it to mp4") from None
    if "error" in facts:
        raise InputError(facts["error"].replace(str(path), name))
    return facts


def _facts(path: Path) -> dict:
    import av
    from av.error import FFmpegError

    from tgl_e2e.video.reader import open_video

    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        with av.open(str(path), container_options=options) as container:
            if container.format.name == "tty":
                raise ValueError
            sides = [max(s.width, s.height) for s in container.streams.video]
    except (FFmpegError, OSError, ValueError):
        raise InputError(
            f"{path}: not a video that can be opened here; give an mp4, mov, mkv, webm, avi or gif"
        ) from None
    if sides and max(sides) > MAX_SIDE:
        raise InputError(f"{path}: frames of more than {MAX_SIDE} pixels; make them smaller")
    source = open_video(path)
    return {
        "size": list(source.size),
        "fps": round(source.fps, 3),
        "num_frames": source.num_frames or source.num_frames_hint,
    }


if __name__ == "__main__":
    try:
        answer = _facts(Path(sys.argv[1]))
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
