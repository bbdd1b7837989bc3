"""train.py itself, for a few steps of each stage, as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tgl_e2e import TGL

ROOT = Path(__file__).parent.parent
SMALL = ["batch_size=2", "eval_clips=2", "workers=0", "log_every=1", "full_share=0", "warmup=1"]


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "train.py", "--config", "tiny", *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )


def run(*arguments: str) -> subprocess.CompletedProcess:
    process = start(*arguments)
    out, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, error)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "dense"
    done = run("--stage", "dense", "--output", str(folder), "steps=2", "eval_every=2", *SMALL)
    assert done.returncode == 0, done.stderr
    return folder


def test_dense_stage_moves_the_image_encoder_alone(dense):
    trained = TGL.from_pretrained(dense).state_dict()
    torch.manual_seed(0)
    rows = [row for row in log(dense) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert {"shape", "colour", "size", "fill", "object"} <= set(rows[0])
    head = torch.load(dense / "dense.pt", weights_only=True)
    assert set(head) >= {"top.weight", "fine.0.weight"}
    assert torch.isfinite(trained["vision.sam.image_encoder.trunk.patch_embed.proj.weight"]).all()


def test_image_then_video_stage_from_it(dense, tmp_path):
    image, video = tmp_path / "image", tmp_path / "video"
    done = run("--stage", "image", "--init", str(dense), "--output", str(image), "steps=2",
               "eval_every=2", "save_every=1", *SMALL)
    assert done.returncode == 0, done.stderr
    before, after = TGL.from_pretrained(dense).state_dict(), TGL.from_pretrained(image).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("prompt.") for name in moved)
    assert not any(name.startswith(("tam.", "vision.sam.memory_")) for name in moved)

    done = run("--stage", "video", "--init", str(image), "--output", str(video), "steps=2",
               "eval_every=2", *SMALL, "model.memory.bank=all")
    assert done.returncode == 0, done.stderr
    network = TGL.from_pretrained(video)
    assert network.config.memory.bank == "all"
    after_video = network.state_dict()
    moved = {name for name in after if not torch.equal(after[name], after_video[name])}
    assert any(name.startswith("tam.") for name in moved)
    assert any(name.startswith("vision.sam.memory_attention") for name in moved)
    report = [row["valid"] for row in log(video) if "valid" in row][-1]
    assert {"iou", "tam_accuracy", "loss"} <= set(report)
    assert (video / "samples" / "000002.png").is_file()
    resolved = json.loads((video / "run.json").read_text())
    assert resolved["train"]["steps"] == 2 and resolved["model"]["memory"]["bank"] == "all"


def test_a_stopped_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    arguments = ["--stage", "dense", "--output", str(folder), "steps=400", "eval_every=1000",
                 *SMALL]
    process = start(*arguments)
    for _ in range(600):
        if (folder / "log.jsonl").is_file() and len(log(folder)) >= 2:
            break
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "--resume" in error
    stopped = json.loads((folder / "state" / "progress.json").read_text())["step"]
    assert 2 <= stopped < 400
    assert TGL.from_pretrained(folder).config.name == "tiny"

    arguments[arguments.index("steps=400")] = f"steps={stopped + 2}"
    refused = run(*arguments)
    assert refused.returncode == 2 and "--resume" in refused.stderr
    done = run(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    steps = [row["step"] for row in log(folder) if "loss" in row]
    assert steps[-2:] == [stopped + 1, stopped + 2]


@pytest.mark.parametrize("arguments, words", [
    (["lr"], "KEY=VALUE"),
    (["lrate=1"], "lrate"),
    (["model.memory.banks=all"], "memory.banks"),
    (["model.memory.bank=some"], "memory.bank"),
    (["--init", "nowhere/at/all"], "nowhere"),
])
def test_bad_input_is_one_line(tmp_path, arguments, words):
    done = run("--stage", "image", "--output", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("train.py: error:") and words in last
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_complete():
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0 and "--resume" in done.stdout and "lr" in done.stdout
    assert time.monotonic() - begin < 20
