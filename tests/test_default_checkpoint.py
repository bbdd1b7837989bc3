"""The checkpoint that is shipped does what the README says of it, on the video shipped with it."""

import json
from pathlib import Path

import numpy as np
import pytest
from training_runs import log, run

from tgl_e2e import TGL, VideoSegmenter
from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.metrics import region_similarity
from tgl_e2e.training.config import TrainConfig

FOLDER = Path(__file__).parent.parent / "checkpoints" / "tgl-tiny"
SEED = 100027  # of sample.mp4, see the card


def test_files_are_small_and_complete():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "training.json",
        "vocab.json",
        "merges.txt",
        "README.md",
        "sample.mp4",
    } <= set(sizes)
    assert max(sizes.values()) < 16_000_000 and sum(sizes.values()) < 40_000_000


def test_its_training_begins_again_with_the_same_losses(tmp_path):
    """As the card says; the preset's block came after that stage."""
    first = json.loads((FOLDER / "training.json").read_text())["1-dense"]
    values = TrainConfig.from_preset("tiny", "dense").to_dict()
    watching = {"eval_every", "eval_clips", "save_every", "compile"}  # the last is gone
    assert all(
        values[name] == value for name, value in first["train"].items() if name not in watching
    )
    done = run(
        "--stage",
        "dense",
        "--output",
        str(tmp_path),
        "--max-steps",
        "2",
        "valid_split=",
        "tracker=none",
        f"model.block={first['block']}",
        "--mixed-precision",
        first["precision"],
    )
    assert done.returncode == 0, done.stderr
    losses = [row["loss"] for row in log(tmp_path)]
    # Another processor adds in another order; another sample or weight would differ by far more.
    assert losses == pytest.approx(first["first_losses"][:2], rel=5e-3)


def test_it_finds_and_follows_the_object_of_the_sample():
    scene = make_scene(SEED, level="medium", split="valid_u")
    expression = scene.expressions[0]
    assert expression.text in (FOLDER.parent.parent / "README.md").read_text()
    found = VideoSegmenter(TGL.from_pretrained(FOLDER)).segment(
        FOLDER / "sample.mp4", [expression.text]
    )[0]
    ids = render(scene, range(scene.num_frames), 256).ids
    truth = np.isin(ids, [i + 1 for i in expression.objects])
    masks = np.stack([found.mask(i) for i in range(found.num_frames)])
    assert scene.relevant(expression)[found.relevance.argmax()]
    assert region_similarity(masks, truth).mean() > 0.75
    # What does not go upwards stays out.
    others = (ids > 0) & ~truth
    assert (masks & others).sum() < 0.05 * truth.sum()
