"""The page's server as its users start it, a small data set, and requests to it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest
from data.small_sets import rle, write_json
from PIL import Image

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

ROOT = Path(__file__).parents[2]
TINY = ROOT / "checkpoints" / "tgl-tiny"
SAMPLE = TINY / "sample.mp4"
TEXT = "the white circle going upwards"  # of the sample
HEIGHT, WIDTH, FRAMES = 90, 160, 24


def write_squares(root: Path, videos: int = 2, expressions: int = 3) -> Path:
    """Split train: two squares that move; the first expression of each video means object 0, the
    second both, the third none, and so on in turn. No moments.json."""
    meta, masks = {}, {}
    kinds = ([0], [0, 1], [])
    for v in range(videos):
        folder = root / "train" / "JPEGImages" / f"video{v}"
        folder.mkdir(parents=True)
        tracks = [[], []]
        for t in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 70, np.uint8)
            for obj in range(2):
                mask = np.zeros((HEIGHT, WIDTH), bool)
                mask[15 + 40 * obj : 35 + 40 * obj, 10 + 4 * t : 40 + 4 * t] = True
                picture[mask] = ((230, 60, 50), (60, 90, 230))[obj]
                tracks[obj].append(rle(mask) if obj == 0 or t >= 6 else None)
            Image.fromarray(picture).save(folder / f"{t:05d}.jpg", quality=90)
        masks |= {f"{v}{obj}": track for obj, track in enumerate(tracks)}
        meta[f"video{v}"] = {
            "frames": [f"{t:05d}" for t in range(FRAMES)],
            "expressions": {
                str(e): {
                    "exp": f"expression {e} of video {v}",
                    "obj_id": kinds[e % 3],
                    "anno_id": [f"{v}{obj}" for obj in kinds[e % 3]],
                }
                for e in range(expressions)
            },
        }
    write_json(root / "train" / "meta_expressions.json", {"videos": meta})
    write_json(root / "train" / "mask_dict.json", masks)
    return root


def write_clip(path: Path, frames: int) -> Path:
    """The first frames of the sample, in a file of their own."""
    with av.open(str(SAMPLE)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class Server:
    """One running `python -m tgl_e2e.app`."""

    def __init__(self, *arguments: object):
        command = [sys.executable, "-m", "tgl_e2e.app", *map(str, arguments)]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line.startswith("open "):
            raise AssertionError(self.process.communicate()[1])
        self.url = line.split()[1]

    def ask(self, path: str, method: str = "GET", body: object = None, **headers: str):
        """(status, content): JSON as Python, anything else as bytes."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None and not isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, content = error.code, error.headers["Content-Type"], error.read()
        return status, json.loads(content) if "json" in (kind or "") else content

    def upload(self, path: Path) -> tuple[int, dict]:
        return self.ask(f"api/uploads?name={quote(path.name)}", "POST", path.read_bytes())

    def wait(self, run: str, until: tuple[str, ...], seconds: float = 900) -> dict:
        """The run's status once its state is one of these."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.ask(f"api/runs/{run}")[1]
            if status["state"] in until:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.1)

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


@contextmanager
def serving(*arguments: object) -> Iterator[Server]:
    server = Server("--port", 0, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()
