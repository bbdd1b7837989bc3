"""The process that runs the network, so that the page answers meanwhile: `python -m
tgl_e2e.app.worker`, jobs in on stdin, progress and results out on stdout, a line of JSON each.

It ends with its stdin, hence with the server, however that ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import av

from tgl_e2e.app.jobs import RESULTS
from tgl_e2e.errors import InputError
from tgl_e2e.inference.output_folder import OVERLAY, OutputFolder, write_outputs
from tgl_e2e.video.reader import open_video

NICE = 5  # behind the page and whatever else the machine does for people


class Worker:
    """out: file descriptor that lines are written to."""

    def __init__(self, out: int):
        self._out = out
        self._models: dict[tuple[str, str], Any] = {}

    def do(self, job: dict[str, Any]) -> None:
        """One job; says how it ended, whatever happens."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("ignore")
                warnings.simplefilter("always", UserWarning)
                result = self._relevance(job) if job["kind"] == "relevance" else self._segment(job)
            result["notes"] = [
                str(w.message) for w in caught if w.category.__module__ != "builtins"
            ]
            self._say("done", result=result)
        except InputError as error:
            self._say("failed", error=self._named(str(error), job))
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            self._say("failed", error="out of memory; give fewer expressions, or choose cpu")
        except OSError as error:
            self._say("failed", error=f"{error.filename or 'results'}: {error.strerror}")

    def _segmenter(self, job: dict[str, Any]):
        self._say("progress", stage="loading the network", done=0, total=None)
        from tgl_e2e import TGL, VideoSegmenter
        from tgl_e2e.inference.device import choose_device

        device, dtype = choose_device(job["device"])
        key = job["checkpoint"], str(device)
        if key not in self._models:
            self._models.clear()  # one fits where two may not
            self._models[key] = TGL.from_pretrained(key[0], device=device, dtype=dtype)
        return VideoSegmenter(
            self._models[key],
            threshold=job["threshold"],
            always_target=job["always_target"],
            progress=self._progress,
        )

    def _progress(self, done: int, total: int | None, stage: str) -> None:
        self._say("progress", stage=stage, done=done, total=total)

    def _segment(self, job: dict[str, Any]) -> dict[str, Any]:
        source = open_video(job["video"])
        source.name = Path(job["name"]).stem or "video"
        folder = Path(job["folder"]) / RESULTS
        with OutputFolder(folder) as output:
            segmenter = self._segmenter(job)
            moments = job["moments"]
            if moments == "auto" and segmenter.model.tam is None:
                moments = "all"
            found = segmenter.segment(source, job["texts"], moments)
            names = job["name"], job["checkpoint"]
            write_outputs(output, source, found, job["threshold"], *names, self._progress)
        first = found[0]
        return {
            "fps": first.fps,
            "size": list(first.size),
            "frames": [int(number) for number in first.frames],
            "times": frame_times(folder / OVERLAY),
            "threshold": job["threshold"],
            "moments": moments,
            "expressions": [
                {
                    "text": one.text,
                    "relevance": [round(float(r), 4) for r in one.relevance],
                    "moments": one.moments,
                }
                for one in found
            ],
        }

    def _relevance(self, job: dict[str, Any]) -> dict[str, Any]:
        from tgl_e2e.data.base import Pictures

        pictures = Pictures([Path(path) for path in job["frames"]])
        relevance = self._segmenter(job).relevance(pictures, job["texts"])
        return {"relevance": [round(float(r), 4) for r in relevance[0]]}

    @staticmethod
    def _named(message: str, job: dict[str, Any]) -> str:
        """A message in the visitor's terms: an upload's file has a name of ours."""
        return message.replace(job.get("video", job["name"]), job["name"])

    def _say(self, what: str, **content: Any) -> None:
        os.write(self._out, (json.dumps({"what": what, **content}) + "\n").encode())


def frame_times(path: Path) -> list[float]:
    """When each frame of a video is shown, in seconds, from its packets; nothing is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = (packet.pts for packet in container.demux(stream))
        return [round(float(pts * stream.time_base), 5) for pts in packets if pts is not None]


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    with_nice = getattr(os, "nice", None)
    if with_nice is not None:
        with_nice(NICE)
    worker = Worker(out)
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        worker.do(jobs.get())


if __name__ == "__main__":
    main()
