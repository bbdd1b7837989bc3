"""Training, inference and the paper's equations frame by frame give the same masks."""

import numpy as np
import pytest
import torch
from networks import build, drawn_up_projections

from tgl_e2e import VideoSegmenter
from tgl_e2e.model.reference import segment_frame_by_frame

SOME, ALL, NONE = "the red star that jumps", "a circle", "the blue thing moving to the left"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"memory.mfe": False},
        {"memory.bank": "all"},
        {"memory.dual_path": False},
        {"memory.bank": "all", "memory.mfe": False},
    ],
    ids=str,
)
def test_training_inference_and_the_equations_agree(changes):
    model = build("tiny", **{"memory.present_only": False, "tam.smooth": 1} | changes)
    count, side = model.config.window, model.config.vision.image_size
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    relevant = {
        expression: torch.zeros(count, dtype=torch.bool) for expression in (SOME, ALL, NONE)
    }
    relevant[SOME][[1, 2, 4]] = True
    relevant[ALL][:] = True
    texts = list(relevant)
    with torch.no_grad(), drawn_up_projections(model):
        expected = {
            text: segment_frame_by_frame(model, frames, text, relevant[text]) for text in texts
        }
        trained = model(
            frames.expand(3, -1, -1, -1, -1),
            texts,
            torch.stack(list(relevant.values())),
            torch.arange(count).expand(3, -1),
        )
        segmenter = VideoSegmenter(model, keep_logits=True)
        video = frames.permute(0, 2, 3, 1).numpy()
        spans = {SOME: [(1, 2), (4, 4)], ALL: [(0, count - 1)], NONE: []}
        together = segmenter.segment(video, texts, moments=spans)
        alone = [segmenter.segment(video, [t], moments=spans[t])[0] for t in (SOME, ALL)]
        everywhere = segmenter.segment(video, [NONE], moments="all")[0]

    for n, text in enumerate(texts):
        masks, presence = expected[text]
        assert masks.std() > 0.1, "the network says something"
        close(torch.where(trained.presence[n, :, None, None] > 0, trained.masks[n], -1024.0), masks)
        close(trained.presence[n], presence)
    for found in (together[0], together[1], *alone, everywhere):
        close(torch.from_numpy(found.logits), expected[found.text][0])
    # Training takes the language path where nothing is relevant; inference finds nothing.
    assert not any(together[2].mask(i).any() for i in range(count))
    assert (np.asarray(together[2].logits) == -1024).all()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to the half precision in which logits are kept."""
    torch.testing.assert_close(
        found.float(), expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max().clamp(max=10))
    )
