"""The evaluation as it is used: real processes, a real network, and kills."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
from launch import LAUNCH_TWO

from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.evaluate import main as evaluate
from tgl_e2e.evaluation.submission import check_submission

REPOSITORY = Path(__file__).parent.parent.parent
VIDEOS = 4


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """(root of a small data set, checkpoint of random weights)"""
    folder = tmp_path_factory.mktemp("launch")
    write_split(folder, "valid_u", VIDEOS, seed=3, level="easy", recording=Recording((48, 48)))
    torch.manual_seed(0)
    TGL(TGLConfig.from_preset("tiny"), pretrained=False).save_pretrained(folder / "network")
    return folder, folder / "network"


def arguments(setting, output, *more):
    root, checkpoint = setting
    return [
        "--checkpoint",
        str(checkpoint),
        "--dataset",
        "motion",
        "--root",
        str(root),
        "--moments",
        "oracle",
        "--device",
        "cpu",
        "--output",
        str(output),
        *more,
    ]


def start_two(setting, output, *more):
    # As many threads as the command takes by itself.
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [*LAUNCH_TWO, "-m", "tgl_e2e.evaluate", *arguments(setting, output, *more)],
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def kill_after_first_video(process, output):
    """SIGKILL to every process of the run, as soon as one video is noted."""
    deadline = time.monotonic() + 300
    while not any(output.glob("partial-*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    launcher = psutil.Process(process.pid)
    run = [launcher, *launcher.children(recursive=True)]
    for one in run:
        one.kill()
    psutil.wait_procs(run)
    process.communicate()


def numbers(output):
    content = json.loads((output / "metrics.json").read_text())
    processes = content.pop("timing")["processes"]
    return content, processes


def masks(output):
    folder = output / "masks"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


def test_equal_numbers_whatever_the_processes_and_kills(setting, tmp_path):
    assert evaluate(arguments(setting, tmp_path / "one")) == 0
    whole, processes = numbers(tmp_path / "one")
    assert processes == 1 and len(whole["videos"]) == VIDEOS

    # Begun by two processes and killed; gone on with by two, and a copy of it by one.
    output = tmp_path / "two"
    kill_after_first_video(start_two(setting, output), output)
    before = len(list(output.glob("partial-*.json")))
    assert 1 <= before < VIDEOS and not (output / "metrics.json").exists()
    shutil.copytree(output, tmp_path / "copy")
    archive = tmp_path / "submission.zip"
    status, out, err = finish(start_two(setting, output, "--resume", "--submission", str(archive)))
    assert status == 0, err
    assert "J&F" in out and out.count("written to") == 1
    assert check_submission(archive, read_mevis(setting[0], "valid_u"))
    assert evaluate(arguments(setting, tmp_path / "copy", "--resume")) == 0
    for folder, count in ((output, 2), (tmp_path / "copy", 1)):
        again, processes = numbers(folder)
        assert processes == count
        assert json.dumps(again) == json.dumps(whole)
        assert masks(folder) == masks(tmp_path / "one")
        table = (folder / "per_expression.csv").read_bytes()
        assert table == (tmp_path / "one" / "per_expression.csv").read_bytes()
        assert not list(folder.glob("*partial*"))


def test_bad_input_is_said_once(setting, tmp_path):
    status, _, err = finish(start_two(setting, tmp_path / "out", "--split", "nowhere"))
    assert status != 0
    assert err.count("evaluate: error: ") == 1 and "nowhere: no such folder" in err
    assert not (tmp_path / "out").exists()
