"""Runs of the network, one after the other, in a process of their own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tgl_e2e
from tgl_e2e.errors import InputError

RESULTS = "results"  # folder of a job's outputs, in the job's own
MAX_QUEUED = 20
KEPT = 12  # finished runs whose results can still be looked at


@dataclass
class Job:
    """One run. state: queued, running, done, failed or cancelled; request: for the worker."""

    id: str
    folder: Path
    request: dict[str, Any]
    state: str = "queued"
    stage: str = ""
    done: int = 0
    total: int | None = None
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    finished: Callable[[dict[str, Any]], None] = lambda result: None

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


class Jobs:
    """A queue and its worker, which starts with the first job.

    folder: for what the jobs write; removed by who made it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._jobs: dict[str, Job] = {}  # in order of arrival
        self._worker: subprocess.Popen | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def add(
        self,
        request: dict[str, Any],
        finished: Callable[[dict[str, Any]], None] = lambda result: None,
    ) -> Job:
        """Puts a job at the end; InputError if too many wait. finished: called with its result."""
        with self._changed:
            if sum(not job.over for job in self._jobs.values()) >= MAX_QUEUED:
                raise InputError(f"{MAX_QUEUED} runs are waiting; try again when some are done")
            name = secrets.token_urlsafe(12)
            job = Job(name, self._folder / name, request, finished=finished)
            job.folder.mkdir()
            self._jobs[job.id] = job
            self._forget_old()
            self._changed.notify_all()
        return job

    def get(self, name: str) -> Job:
        if name not in self._jobs:
            raise InputError("this run is not kept any longer; run it again")
        return self._jobs[name]

    def place(self, job: Job) -> int:
        """How many runs come before it."""
        with self._changed:
            waiting = [other.id for other in self._jobs.values() if not other.over]
        return waiting.index(job.id) if job.id in waiting else 0

    def cancel(self, job: Job) -> None:
        """A waiting job is taken out; a running one ends with its process, at once."""
        with self._changed:
            if job.state == "running":
                self._kill()
            if not job.over:
                job.state = "cancelled"

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._kill()
            self._changed.notify_all()
        self._thread.join(timeout=5)

    def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.wait()
            worker.stdin.close()

    def _forget_old(self) -> None:
        over = [job for job in self._jobs.values() if job.over]
        for job in over[: max(0, len(over) - KEPT)]:
            del self._jobs[job.id]
            shutil.rmtree(job.folder, ignore_errors=True)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "queued":
                        job.state = "running"
                        return job
                self._changed.wait()
        return None

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._do(job)
            except OSError as error:  # no process, a full disk
                self._end(job, "failed", f"the network could not be started ({error.strerror})")

    def _do(self, job: Job) -> None:
        with self._changed:
            if job.over or self._closed:
                return
            if self._worker is None:
                self._worker = self._start()
            worker = self._worker
            line = json.dumps({**job.request, "folder": str(job.folder)}) + "\n"
            try:
                worker.stdin.write(line)
                worker.stdin.flush()
            except BrokenPipeError:
                pass  # as below: it says no more
        for line in worker.stdout:
            message = json.loads(line)
            if message["what"] == "progress":
                job.stage, job.done, job.total = (message[k] for k in ("stage", "done", "total"))
                continue
            job.result = message.get("result", {})
            if message["what"] == "done":
                job.finished(job.result)
            self._end(job, message["what"], message.get("error", ""))
            return
        with self._changed:
            if self._worker is worker:  # not killed by us
                self._kill()
        self._end(job, "failed", "the network's process ended (out of memory?); run it again")

    def _end(self, job: Job, state: str, error: str) -> None:
        with self._changed:
            if not job.over:
                job.state, job.error = state, " ".join(error.split())

    def _start(self) -> subprocess.Popen:
        package = Path(tgl_e2e.__file__).parents[1]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-m", "tgl_e2e.app.worker"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
