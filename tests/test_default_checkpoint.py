"""The checkpoint that is shipped does what the README says of it, on the video shipped with it."""

from pathlib import Path

import numpy as np

from tgl_e2e import TGL, VideoSegmenter
from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.metrics import region_similarity

FOLDER = Path(__file__).parent.parent / "checkpoints" / "tgl-tiny"
SEED = 100006  # of sample.mp4, see the card


def test_files_are_small_and_complete():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "vocab.json", "merges.txt", "README.md",
            "sample.mp4"} <= set(sizes)
    assert max(sizes.values()) < 16_000_000 and sum(sizes.values()) < 40_000_000


def test_it_finds_and_follows_the_object_of_the_sample():
    scene = make_scene(SEED, level="easy", split="valid_u")
    expression = scene.expressions[0]
    assert expression.text in (FOLDER.parent.parent / "README.md").read_text()
    found = VideoSegmenter(TGL.from_pretrained(FOLDER)).segment(
        FOLDER / "sample.mp4", [expression.text])[0]
    ids = render(scene, range(scene.num_frames), 256).ids
    truth = np.isin(ids, [i + 1 for i in expression.objects])
    masks = np.stack([found.mask(i) for i in range(found.num_frames)])
    assert scene.relevant(expression)[found.relevance.argmax()]
    assert region_similarity(masks, truth).mean() > 0.75
    # Two orange stars are in the picture; the one that does not go left stays out.
    others = (ids > 0) & ~truth
    assert (masks & others).sum() < 0.05 * truth.sum()
