"""A training that is killed, stopped, or runs into trouble goes on as if nothing had happened."""

import json
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import SMALL, last_line, log, run, start, wait_for

from tgl_e2e import TGL
from tgl_e2e.data.synthetic.__main__ import main as write_motion

# Dropout is on: what it draws has to be the same after a kill as well.
RUN = ["--stage", "video", *SMALL, "save_every=2", "eval_every=3", "model.text.dropout=0.1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Eight steps without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run("--output", str(folder), *RUN, "--max-steps", "8")
    assert done.returncode == 0, done.stderr
    return folder


def test_killed_at_any_step_and_resumed_is_the_same_run(whole, tmp_path):
    """To the last digit, and without a gap or a repetition in the log."""
    folder = tmp_path / "run"
    for lines in (3, 6):
        resume = ["--resume"] if folder.exists() else []
        process = start("--output", str(folder), *RUN, "--max-steps", "8", *resume)
        wait_for(lambda: len(log(folder)) >= lines, process)  # noqa: B023
        process.kill()
        process.communicate()
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # killed in the middle of a line
    done = run("--output", str(folder), *RUN, "--max-steps", "8", "--resume")
    assert done.returncode == 0, done.stderr
    assert log(folder) == log(whole) and len(log(folder)) == 8
    assert log(folder, "valid.jsonl") == log(whole, "valid.jsonl")
    weights, expected = (load_file(path / "model.safetensors") for path in (folder, whole))
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    done = run("--output", str(folder), *RUN, "--max-steps", "8", "--resume")
    assert done.returncode == 0 and "already at step 8" in done.stderr


def test_a_kill_while_saving_leaves_a_whole_state(whole, tmp_path, request):
    """More often with --kills N."""
    folder, saved = tmp_path / "run", 0
    arguments = ["--output", str(folder), *RUN, "save_every=1", "--max-steps", "1000"]
    for kill in range(request.config.getoption("--kills")):
        process = start(*arguments, *(["--resume"] if kill else []))
        begun = len(log(folder))
        wait_for(lambda: len(log(folder)) > begun + kill % 3, process)  # noqa: B023
        wait_for((folder / "state.partial").exists, process)
        time.sleep(0.01 * (kill % 10))  # at different moments of the writing
        process.kill()
        process.communicate()
        for name in ("state", "state.old"):
            if (folder / name / "progress.json").is_file():
                step = json.loads((folder / name / "progress.json").read_text())["step"]
                assert step >= saved
                saved = step
                break
        else:
            assert saved == 0, "the state before was lost"
    done = run(*arguments[:-1], str(saved + 1), "--resume")
    assert done.returncode == 0, done.stderr
    steps = [row["step"] for row in log(folder)]
    assert steps == list(range(1, saved + 2))
    both = min(len(steps), 8)
    assert log(folder)[:both] == log(whole)[:both]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_and_says_how_to_go_on(tmp_path, number):
    folder = tmp_path / "run"
    process = start("--output", str(folder), *RUN)
    wait_for(lambda: len(log(folder)) >= 1, process)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0 and "--resume" in error
    stopped = json.loads((folder / "state" / "progress.json").read_text())["step"]
    assert stopped == len(log(folder)) >= 1
    assert TGL.from_pretrained(folder).config.name == "tiny"
    if number == signal.SIGTERM:
        resolved = json.loads((folder / "run.json").read_text())
        del resolved["model"]["memory"]["pool"]  # as written before there were such values
        del resolved["train"]["sam_lr_factor"]
        resolved["train"]["compile"] = False  # and when there was this one
        (folder / "run.json").write_text(json.dumps(resolved))
        other = run(
            "--output",
            str(folder),
            *RUN,
            "lr=1",
            "model.memory.anchor=0",
            "--mixed-precision",
            "bf16",
            "--resume",
        )
        assert other.returncode == 2
        assert "lr, model.memory.anchor, precision differ" in last_line(other)


def test_a_full_disk_is_an_error_and_the_state_before_is_kept(whole, tmp_path):
    """A file that may not grow beyond 4 MB fails as one on a full disk does."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    longer = ["--output", str(folder), *RUN, "--max-steps", "10", "--resume"]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    full = run(*longer, preexec_fn=small_files)
    assert full.returncode == 2
    assert "could not be written to" in last_line(full) and "--resume" in last_line(full)
    assert json.loads((folder / "state" / "progress.json").read_text())["step"] == 8
    assert not (folder / "state.partial").exists()
    TGL.from_pretrained(folder)  # as it was after eight steps
    done = run(*longer)
    assert done.returncode == 0, done.stderr
    assert log(folder)[:8] == log(whole) and len(log(folder)) == 10


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_samples(tmp_path):
    folder = tmp_path / "run"
    done = run(
        "--output", str(folder), *RUN, "save_every=1", "lr=1e25", "clip_norm=1e25", "accumulation=2"
    )
    assert done.returncode == 2, done.stderr
    line = last_line(done)
    assert "step" in line and line.count("motion scene") >= 1 and "--resume" in line
    kept = json.loads((folder / "state" / "progress.json").read_text())["step"]
    assert kept == len(log(folder)) and f"step {kept + 1};" in line


def test_two_processes_are_the_same_run_as_one(tmp_path):
    """20 steps, no dropout. Sums in another order move a loss in its last digits, and 20 steps of
    training carry that on: 2e-5 of the loss is ten times what was seen. The rate is low, as in any
    warm-up: at its full height Adam's first steps are as long where a gradient is rounding alone,
    and on one processor four parts of a batch were 4e-4 away after 15 of them."""
    folders = {}
    for processes, accumulation in ((1, 1), (2, 2)):
        folder = folders[processes, accumulation] = tmp_path / f"{processes}x{accumulation}"
        done = run(
            "--stage",
            "align",
            "--output",
            str(folder),
            *SMALL,
            "batch_size=4",
            "eval_clips=3",
            "--max-steps",
            "20",
            f"accumulation={accumulation}",
            "save_every=20",
            "warmup=200",
            two=processes == 2,
        )
        assert done.returncode == 0, done.stderr
    one, other = (log(folder) for folder in folders.values())
    assert len(one) == 20
    for a, b in zip(one, other, strict=True):
        assert b == {name: pytest.approx(value, rel=2e-5, abs=1e-6) for name, value in a.items()}
    one, other = (log(folder, "valid.jsonl")[0] for folder in folders.values())
    assert other == {name: pytest.approx(value, abs=1e-3) for name, value in one.items()}


def test_two_processes_are_the_same_run_on_a_recorded_data_set(tmp_path):
    """The video stage on a folder in MeViS's layout, mirrored and recoloured, with a tracker."""
    for split, count in (("train", 3), ("valid_u", 1)):
        write_motion(
            [
                "--output",
                str(tmp_path / "mevis"),
                "--split",
                split,
                "--videos",
                str(count),
                "--seed",
                "1",
                "--level",
                "easy",
            ]
        )
    logs = []
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        done = run(
            "--stage",
            "video",
            "--output",
            str(folder),
            *SMALL,
            "dataset=mevis",
            f"root={tmp_path / 'mevis'}",
            "dense_weight=0",
            "flip=0.5",
            "photometric=0.5",
            "scale=0.5",
            "workers=1",
            "tracker=tensorboard",
            "--max-steps",
            "4",
            two=processes == 2,
        )
        assert done.returncode == 0, done.stderr
        assert list(folder.glob("tgl_e2e/**/events.out.tfevents*"))
        logs.append(log(folder))
        assert log(folder, "valid.jsonl")[0]["iou/mevis"] >= 0
    for a, b in zip(*logs, strict=True):
        assert b == {name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in a.items()}
