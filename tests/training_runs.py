"""Starts train.py as a user does, small enough for a test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from launch import LAUNCH_TWO

ROOT = Path(__file__).parent.parent
SMALL = ["batch_size=2", "num_frames=2", "eval_clips=2", "workers=0", "warmup=1", "tracker=none"]
TIMES = ("steps/s", "samples/s", "data_wait")  # what differs between equal runs


def start(*arguments: str, two: bool = False, **options) -> subprocess.Popen:
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*(LAUNCH_TWO if two else [sys.executable]), "train.py", "--config", "tiny", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        **options,
    )


def run(*arguments: str, two: bool = False, **options) -> subprocess.CompletedProcess:
    process = start(*arguments, two=two, **options)
    out, error = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.returncode, out, error)


def log(folder: Path, name: str = "log.jsonl") -> list[dict]:
    """The lines of a run's log but for the times it took."""
    if not (folder / name).is_file():
        return []
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def wait_for(condition, process: subprocess.Popen, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.002)


def last_line(done: subprocess.CompletedProcess) -> str:
    return done.stderr.strip().splitlines()[-1]
