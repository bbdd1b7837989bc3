"""The per-pixel head of training from scratch."""

import torch
import torch.nn.functional as F
from networks import difference

from tgl_e2e.model.dense import DenseHead
from tgl_e2e.model.features import FrameFeatures


def test_levels_are_classified_apart_and_summed_at_the_finest():
    torch.manual_seed(0)
    head = DenseHead(16, {"shape": 5, "colour": 3})
    features = FrameFeatures(
        torch.randn(2, 16, 2, 2), (torch.randn(2, 2, 8, 8), torch.randn(2, 4, 4, 4))
    )
    logits = head(features)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "object": (2, 1, 8, 8),
        "shape": (2, 5, 8, 8),
        "colour": (2, 3, 8, 8),
    }
    together = torch.cat(list(logits.values()), dim=1)
    expected = head.fine[0](features.fine[0])
    for level in (head.fine[1](features.fine[1]), head.top(features.top)):
        expected = expected + F.interpolate(level, size=(8, 8), mode="bilinear")
    assert difference(together, expected) < 1e-6
