"""train.py itself, for a few steps of each stage, as a user starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_runs import ROOT, SMALL, last_line, log, run

from tgl_e2e import TGL
from tgl_e2e.evaluation.provenance import fingerprint
from tgl_e2e.tools.export import main as export


@pytest.fixture(scope="module")
def dense(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "dense"
    done = run("--stage", "dense", "--output", str(folder), "steps=2", *SMALL, "num_frames=1")
    assert done.returncode == 0, done.stderr
    return folder


def test_dense_stage_moves_the_image_encoder_alone(dense):
    rows = log(dense)
    assert [row["step"] for row in rows] == [1, 2]
    assert {"loss", "shape", "colour", "size", "fill", "object", "lr", "grad_norm"} <= set(rows[0])
    trained = TGL.from_pretrained(dense).state_dict()
    assert torch.isfinite(trained["vision.sam.image_encoder.trunk.patch_embed.proj.weight"]).all()
    assert (dense / "dense.safetensors").is_file()


def test_a_run_is_exported_with_its_record(dense, tmp_path, capsys):
    assert export([str(dense), str(tmp_path / "out")]) == 0
    assert "1 stages" in capsys.readouterr().out
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert size < 0.6 * (dense / "model.safetensors").stat().st_size
    small, whole = (TGL.from_pretrained(f).state_dict() for f in (tmp_path / "out", dense))
    assert all(
        torch.allclose(small[name], value, rtol=1e-3, atol=1e-4) for name, value in whole.items()
    )
    record = json.loads((tmp_path / "out" / "training.json").read_text())["1-dense"]
    assert record["first_losses"] == [round(row["loss"], 5) for row in log(dense)]
    assert record["steps"] == 2 and record["train"]["batch_size"] == 2
    assert record["validations"] == log(dense, "valid.jsonl")
    assert export([str(tmp_path), str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err
    assert "no run of train.py" in error and error.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_a_run_is_averaged_with_the_network_it_began_with(dense, tmp_path, capsys):
    other = tmp_path / "other"
    changed = TGL.from_pretrained(dense)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(1.0)
    changed.save_pretrained(other)
    out = tmp_path / "out"
    assert export([str(dense), str(out), "--average", str(other), "--float32"]) == 0
    mean, whole = (dict(TGL.from_pretrained(f).named_parameters()) for f in (out, dense))
    assert all(torch.allclose(mean[name], value + 0.5) for name, value in whole.items())
    record = json.loads((out / "training.json").read_text())["1-dense"]["averaged_with"]
    assert record["checkpoint"] == str(other) and record["sha256"] == fingerprint(str(other))
    capsys.readouterr()
    words = json.loads((other / "vocab.json").read_text())
    words["Ġred"], words["Ġblue"] = words["Ġblue"], words["Ġred"]
    (other / "vocab.json").write_text(json.dumps(words))
    assert export([str(dense), str(tmp_path / "none"), "--average", str(other)]) == 2
    assert "--average: a network of another vocabulary" in capsys.readouterr().err
    TGL(changed.config.with_values(**{"tam.dim": 64}), pretrained=False).save_pretrained(other)
    assert export([str(dense), str(tmp_path / "none"), "--average", str(other)]) == 2
    error = capsys.readouterr().err
    assert "--average: a network of other parts" in error and error.count("\n") == 1
    assert not (tmp_path / "none").exists()


def moved(before: Path, after: Path) -> set[str]:
    old, new = TGL.from_pretrained(before).state_dict(), TGL.from_pretrained(after).state_dict()
    return {name for name in old if not torch.equal(old[name], new[name])}


def test_image_then_video_stage_from_it(dense, tmp_path):
    image, video = tmp_path / "image", tmp_path / "video"
    done = run(
        "--stage",
        "image",
        "--init",
        str(dense),
        "--output",
        str(image),
        "steps=2",
        *SMALL,
        "num_frames=1",
    )
    assert done.returncode == 0, done.stderr
    names = moved(dense, image)
    assert any(name.startswith("prompt.") for name in names)
    assert not any(name.startswith(("tam.", "vision.sam.memory_")) for name in names)

    done = run(
        "--stage",
        "video",
        "--init",
        str(image),
        "--output",
        str(video),
        "steps=2",
        *SMALL,
        "--model.memory.bank",
        "all",
        "--seed",
        "4",
        "--lr=1e-3",
        "checkpointing=true",
    )
    assert done.returncode == 0, done.stderr
    names = moved(image, video)
    assert any(name.startswith("tam.") for name in names)
    assert any(name.startswith("vision.sam.memory_attention") for name in names)
    report = log(video, "valid.jsonl")[-1]
    assert report["step"] == 2 and {"iou", "tam_accuracy", "loss"} <= set(report)
    assert (video / "samples" / "000002.png").is_file()
    best = TGL.from_pretrained(video / "best").state_dict()  # the only validation was the best
    assert all(
        torch.equal(value, best[name])
        for name, value in TGL.from_pretrained(video).state_dict().items()
    )
    resolved = json.loads((video / "best" / "run.json").read_text())
    assert resolved["train"]["steps"] == 2 and resolved["train"]["seed"] == 4
    assert resolved["train"]["lr"] == 1e-3 and resolved["model"]["memory"]["bank"] == "all"


def test_the_whole_recipe_by_one_command(tmp_path):
    """On two processes under accelerate launch, each stage from the one before; what comes out
    segments a video."""
    output, video = tmp_path / "run", ROOT / "checkpoints" / "tgl-tiny" / "sample.mp4"
    whole = ["--output", str(output), *SMALL[2:], "batch_size=2", "--max-steps"]
    done = run(*whole, "1", two=True)
    assert done.returncode == 0, done.stderr
    stages = [
        output / "stages" / name
        for name in ("1-dense", "2-colour", "3-image", "4-align", "5-motion", "6-video", "7-hard")
    ]
    for before, folder in zip([None, *stages], [*stages, output], strict=True):
        assert [row["step"] for row in log(folder)] == [1]
        resolved = json.loads((folder / "run.json").read_text())
        init = None if before is None else (folder / resolved["init"]).resolve()
        assert init == before and resolved["init_step"] == (None if before is None else 1)
    assert json.loads((stages[1] / "run.json").read_text())["train"]["cues"] == {"colour": 1.0}

    done = subprocess.run(
        [
            sys.executable,
            "infer.py",
            str(video),
            "the red circle",
            "--checkpoint",
            str(output),
            "--end",
            "6",
            "--output",
            str(tmp_path / "found"),
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "found" / "result.json").read_text())["num_frames"] == 6

    again = run(*whole, "1")
    assert again.returncode == 2 and "not empty" in last_line(again)
    longer = run(*whole, "2", "--resume")
    assert longer.returncode == 2  # the first stage went on; what began from it did not see that
    assert "2-colour: began from step 1 of ../1-dense, which is at step 2" in last_line(longer)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lr"], "KEY=VALUE"),
        (["valid_split=,,,"], "cannot be read"),
        (["cues={mixed: 1"], "cannot be read"),
        (["lrate=1"], "lrate"),
        (["lr=fast"], "train.lr is 'fast'; give a number"),
        (["--lr"], "--lr lacks a value"),
        (["model.memory.banks=all"], "memory.banks"),
        (["model.memory.bank=some"], "memory.bank"),
        (["schedule=round"], "cosine"),
        (["batch_size=6", "accumulation=4"], "accumulation=1, 2, 3, 6 works"),
        (["dataset=mevis"], "root=FOLDER"),
        (["dataset=cats", "root=x"], "mevis"),
        (["dataset=mevis", "root=x"], "no such folder"),
        (["tracker=pencil"], "tensorboard"),
        (["tracker=wandb"], "not installed"),
        (["--init", "nowhere/at/all"], "nowhere"),
        (["--resume"], "no run to resume"),
        (["seed=-1"], "seed"),
        (["lr=0"], "lr is 0; it must be greater than 0"),
        (["flip=2"], "a share"),
        (["full_share=0.7", "medium_share=0.7"], "together more than 1"),
        (["cues={bad: 1}"], "bad"),
        (["cues={shape: 0}"], "no share"),
        (["cues={fill: 1}"], "full_share=1"),
        (["valid_split=test"], "no split 'test'"),
        (["num_frames=2"], "num_frames=1"),
        (["distinct=960"], "stage moments"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    """In this process: what is wrong shows before anything is written."""
    import train

    monkeypatch.setattr(
        sys,
        "argv",
        [
            "train.py",
            "--config",
            "tiny",
            "--stage",
            "image",
            "--output",
            str(tmp_path / "out"),
            *arguments,
        ],
    )
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(train, "StopSignal", lambda: None)
    assert train.main() == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("train.py: error:") and words in last
    assert not (tmp_path / "out").exists()


def test_help_is_quick_and_complete():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", "--help"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0
    for word in ("--resume", "--max-steps", "lr (0.0001)", "model.memory.bank", "selective"):
        assert word in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "tgl_e2e.config" in imported and not imported & {"torch", "transformers", "accelerate"}
