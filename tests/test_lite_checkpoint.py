"""The default checkpoint: complete, small, of no machine, and what its card says on real video."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tgl_e2e import TGL, VideoSegmenter

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "checkpoints" / "tgl-lite"
REAL = ROOT.parent / "shared" / "real"


def test_files_are_complete_and_small_and_name_no_machine():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    bases = {f"bases-{part}.safetensors" for part in ("prior", "text", "vision")}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} | bases <= set(sizes)
    assert max(sizes.values()) < 50_000_000
    every = [path for path in (ROOT / "checkpoints").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in every) < 90_000_000
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["vision"]["base"] is None and config["text"]["base"] is None
    training = json.loads((FOLDER / "training.json").read_text())
    assert not any("/" in stage["train"]["root"] for stage in training.values())


def test_it_is_the_default_and_needs_no_network(tmp_path):
    """From a process that may reach no hub: two frames of the sample, as infer.py writes them."""
    sample = next((ROOT / "checkpoints").glob("*/sample.mp4"))
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "infer.py"), str(sample), "the circle", "a dog"),
            *("--end", "2", "--output", str(tmp_path / "out")),
        ],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert Path(result["checkpoint"]).name == "tgl-lite" and result["num_frames"] == 2


@pytest.fixture(scope="module")
def model() -> TGL:
    return TGL.from_pretrained(FOLDER)


def test_its_prior_knows_the_names_of_classes(model):
    """Names of ImageNet's classes are nearest to themselves among all of them."""
    names = {"tabby cat": 281, "black swan": 100, "bicycle": 444, "school bus": 779}
    near = model.prior.expression(model.text, model.text.tokenize([f"a {name}" for name in names]))
    ranks = (near @ model.prior.class_embeddings.T).argsort(dim=1, descending=True)
    for row, index in zip(ranks, names.values(), strict=True):
        assert index in row[:10]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs real video beside the clone")
def test_it_finds_an_animal_in_real_footage(model):
    from tgl_e2e.data.mevis import read_mevis
    from tgl_e2e.metrics import region_similarity

    dataset = read_mevis(REAL, "valid_u")
    video = dataset.video("blackswan")
    expression = video.expressions[0]
    frames = [np.asarray(video.pictures[t]) for t in range(0, video.num_frames, 6)]
    found = VideoSegmenter(model).segment(np.stack(frames), [expression.text], moments="all")[0]
    truth = np.stack([expression.mask(t) for t in range(0, video.num_frames, 6)])
    masks = np.stack([found.mask(i) for i in range(found.num_frames)])
    assert region_similarity(masks, truth).mean() > 0.4
