"""torch.compile of the network, with the real compiler."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_segmenter import build, masks
from test_segmenter import video as video

from tgl_e2e import VideoSegmenter

TEXT = "the red star that moves to the left"
SPANS = [(4, 9), (17, 17)]
RUN = """
import sys
import torch
from tgl_e2e import TGL, VideoSegmenter
torch._inductor.config.cpp.cxx = ("/no/such/compiler",)
torch._inductor.config.force_disable_caches = True
segmenter = VideoSegmenter(TGL.from_pretrained(sys.argv[1]), compile=True)
found = segmenter.segment(sys.argv[2], ["the white square"], end=8)
print(found[0].num_frames)
"""


@pytest.mark.parametrize("pool", [1, 2])
def test_the_compiled_network_gives_the_masks_of_the_plain_one(video, pool):
    frames = video[:21]  # the last window and the last batch are not full
    changes = {"tam.smooth": 1, "memory.pool": pool}
    plain = VideoSegmenter(build(**changes), keep_logits=True)
    compiled = VideoSegmenter(build(**changes), keep_logits=True, compile=True)
    torch._dynamo.reset()  # or the blocks of the other case would serve here too
    torch._dynamo.utils.counters.clear()
    expected = plain.segment(frames, [TEXT], moments=SPANS)[0]
    found = compiled.segment(frames, [TEXT], moments=SPANS)[0]
    assert np.abs(found.logits.astype(float) - expected.logits).max() < 0.05
    assert (masks(found) == masks(expected)).mean() > 0.999
    np.testing.assert_allclose(found.relevance, expected.relevance, atol=1e-4)
    assert 0.01 < masks(expected).mean() < 0.99
    variants = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert variants >= 8  # kinds of block, and memory attention
    compiled.segment(frames, [TEXT], moments=SPANS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == variants  # nothing anew
    assert not torch._dynamo.utils.counters["graph_break"]


def test_names_of_parameters_stay():
    model = build()
    names = list(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VideoSegmenter(model, compile=True)
    VideoSegmenter(model, compile=True)  # a second time changes nothing
    assert list(model.state_dict()) == names


def test_without_a_compiler_there_is_a_message_and_the_plain_network():
    folder = Path(__file__).parent.parent.parent / "checkpoints" / "tgl-tiny"
    done = subprocess.run(
        [sys.executable, "-c", RUN, folder, folder / "sample.mp4"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "8"
    assert "compile: not to be had here" in done.stderr
