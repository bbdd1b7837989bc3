"""Losses against values by hand and slow implementations."""

import math

import pytest
import torch
import torch.nn.functional as F

from tgl_e2e.training.losses import (
    LossWeights,
    attention_loss,
    dense_loss,
    dice_loss,
    focal_loss,
    noun_loss,
    similarity_loss,
    tgl_loss,
)

SURE = 40.0  # a logit whose sigmoid is 1 in float32


def test_dice_by_hand():
    target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    logits = torch.tensor([[[[SURE, -SURE], [SURE, -SURE]]]])  # one of two hit, one false
    assert dice_loss(logits, target).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert dice_loss((target * 2 - 1) * SURE, target).item() == pytest.approx(0, abs=1e-6)
    half = torch.zeros(1, 1, 2, 2)  # probability 0.5 everywhere
    assert dice_loss(half, target).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))


def test_dice_of_nothing_predicted_and_nothing_there_is_zero():
    empty = torch.zeros(1, 2, 8, 8)
    assert dice_loss(empty - SURE, empty).item() == pytest.approx(0, abs=1e-6)
    full = dice_loss(empty + SURE, empty).item()
    assert full == pytest.approx(1 - 1 / 129)


def test_dice_is_over_the_pixels_of_a_clip():
    """A false positive costs as much in a frame without target as in one with it (Eq. 7)."""
    target = torch.zeros(1, 2, 8, 8)
    target[0, 0, 2:6, 2:6] = 1
    logits = ((target * 2 - 1) * 4).requires_grad_()
    with torch.no_grad():
        logits[0, :, 0, 0] = 2.0
    dice_loss(logits, target).sum().backward()
    with_target, without = logits.grad[0, :, 0, 0].tolist()
    assert without == pytest.approx(with_target) and without > 1e-4
    weight = torch.tensor([[1.0, 0.0]])  # the second frame does not count
    logits.grad = None
    dice_loss(logits, target, weight).sum().backward()
    assert logits.grad[0, 1].abs().max() == 0


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.9, 3.0)])
def test_focal_against_a_slow_implementation(alpha, gamma):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 4) * 3, (torch.rand(2, 3, 4) > 0.5).float()
    total = 0.0
    for logit, truth in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = (p, alpha) if truth else (1 - p, 1 - alpha)
        total += -alpha_t * (1 - p_t) ** gamma * math.log(p_t)
    found = focal_loss(logits, target, alpha, gamma).mean().item()
    assert found == pytest.approx(total / logits.numel(), rel=1e-4)


def test_focal_defaults_are_those_of_the_paper_it_cites():
    logits, target = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    expected = 0.5 * (0.25 + 0.75) * 0.5**2 * math.log(2)
    assert focal_loss(logits, target).item() == pytest.approx(expected)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    target = torch.zeros(2, 3, 16, 16, dtype=torch.bool)
    target[0, :, 2:9, 4:12] = True
    return {
        "masks": torch.randn(2, 3, 4, 4),
        "presence": torch.randn(2, 3),
        "relevance": torch.randn(2, 3),
        "target": target,
        "relevant": torch.tensor([[True, False, True], [False, False, False]]),
    }


def test_terms_and_their_weighted_sum(batch):
    losses = tgl_loss(**batch, weights=LossWeights(dice=2, focal=20, tam=3, present=0.1))
    assert set(losses) == {"loss", "dice", "focal", "present", "tam"}
    expected = (
        2 * losses["dice"] + 20 * losses["focal"] + 3 * losses["tam"] + 0.1 * losses["present"]
    )
    assert losses["loss"].item() == pytest.approx(expected.item())
    # masks are resized as logits to the size of the target
    resized = F.interpolate(
        batch["masks"].view(6, 1, 4, 4), size=(16, 16), mode="bilinear", align_corners=False
    )[:, 0]
    truth = batch["target"].view(6, 16, 16).float()
    clips = dice_loss(resized.view(2, 3, 16, 16), truth.view(2, 3, 16, 16))
    assert losses["dice"].item() == pytest.approx(clips.mean().item())
    frames = dice_loss(resized[:, None], truth[:, None]).mean().item()
    assert tgl_loss(**batch, weights=LossWeights(dice_per_frame=True))[
        "dice"
    ].item() == pytest.approx(frames)
    assert losses["focal"].item() == pytest.approx(focal_loss(resized, truth).mean().item())
    # present: in all three frames of the first clip, in none of the second
    sign = torch.tensor([[1.0], [-1.0]])
    assert losses["present"].item() == pytest.approx(
        F.softplus(-sign * batch["presence"]).mean().item()
    )
    sign = batch["relevant"].float() * 2 - 1
    assert losses["tam"].item() == pytest.approx(
        F.softplus(-sign * batch["relevance"]).mean().item()
    )


def test_a_batch_costs_what_its_parts_cost(batch):
    """However many frames of each clip are supervised: 1 x 4 and 4 x 1 are the same run."""
    batch["supervised"] = torch.tensor([[True, False, True], [False, True, False]])
    whole = tgl_loss(**batch, weights=LossWeights(present=0.5))
    parts = [
        tgl_loss(
            **{name: value[b : b + 1] for name, value in batch.items()},
            weights=LossWeights(present=0.5),
        )
        for b in range(2)
    ]
    for name, value in whole.items():
        assert value.item() == pytest.approx((parts[0][name] + parts[1][name]).item() / 2)


def test_masks_that_were_not_predicted_cost_nothing(batch):
    batch["supervised"] = torch.tensor([[True, False, True], [True, True, True]])
    before = tgl_loss(**batch, weights=LossWeights(present=0.5))["loss"].item()
    batch["masks"][0, 1] += 5
    batch["presence"][0, 1] += 5
    assert tgl_loss(**batch, weights=LossWeights(present=0.5))["loss"].item() == before
    batch["masks"][0, 0] += 5
    assert tgl_loss(**batch, weights=LossWeights(present=0.5))["loss"].item() != before


def test_dense_loss_of_a_batch_is_that_of_its_clips():
    torch.manual_seed(0)
    logits = {"object": torch.randn(4, 1, 3, 3), "shape": torch.randn(4, 5, 3, 3)}
    labels = {"shape": torch.randint(-1, 5, (2, 2, 3, 3))}
    labels["shape"][0, :, 1:] = -1  # a clip of few object pixels counts like any other
    labels["object"] = labels["shape"] >= 0
    whole = dense_loss(logits, labels)["loss"]
    parts = [
        dense_loss(
            {n: v[2 * b : 2 * b + 2] for n, v in logits.items()},
            {n: v[b : b + 1] for n, v in labels.items()},
        )["loss"]
        for b in range(2)
    ]
    assert whole.item() == pytest.approx(sum(p.item() for p in parts) / 2)


def test_image_stage_has_no_alignment(batch):
    batch["relevance"] = None
    losses = tgl_loss(**batch, weights=LossWeights(tam=5))
    assert "tam" not in losses
    assert losses["loss"].item() == pytest.approx((losses["dice"] + losses["focal"]).item())


def test_losses_are_float32_of_half_precision_outputs(batch):
    for name in ("masks", "presence", "relevance"):
        batch[name] = batch[name].bfloat16()
    assert {
        value.dtype for value in tgl_loss(**batch, weights=LossWeights(present=1.0)).values()
    } == {torch.float32}


def test_gradients_reach_masks_presence_and_relevance(batch):
    leaves = [batch[name].requires_grad_() for name in ("masks", "presence", "relevance")]
    tgl_loss(**batch, weights=LossWeights(present=0.1))["loss"].backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def test_dense_loss_by_hand():
    logits = {"object": torch.zeros(1, 1, 1, 3), "shape": torch.zeros(1, 4, 1, 3)}
    logits["shape"][0, 2, 0, 0] = SURE
    labels = {
        "object": torch.tensor([[[[True, True, False]]]]),
        "shape": torch.tensor([[[[2, 1, -1]]]]),
    }
    losses = dense_loss(logits, labels)
    assert losses["object"].item() == pytest.approx(math.log(2))
    # the first pixel costs nothing, the second log 4, the third is background
    assert losses["shape"].item() == pytest.approx(math.log(4) / 2)
    assert losses["loss"].item() == pytest.approx(math.log(2) + math.log(4) / 2)


def test_dense_loss_without_any_object_is_finite():
    logits = {
        "object": torch.zeros(1, 1, 2, 2, requires_grad=True),
        "shape": torch.zeros(1, 4, 2, 2, requires_grad=True),
    }
    labels = {
        "object": torch.zeros(1, 1, 2, 2, dtype=torch.bool),
        "shape": torch.full((1, 1, 2, 2), -1),
    }
    losses = dense_loss(logits, labels)
    assert losses["shape"].item() == 0 and losses["loss"].isfinite()
    losses["loss"].backward()
    assert logits["shape"].grad.isfinite().all()


def test_attention_by_hand():
    """Two clips of three frames of 2 x 2 cells; the target is out of one frame, and of one clip."""
    attended = torch.full((2, 3, 2, 2), 0.25)
    attended[0, 0] = torch.tensor([[0.7, 0.1], [0.1, 0.1]])
    target = torch.zeros(2, 3, 8, 8)
    target[0, 0, :4, :4] = 1  # all of the first cell
    target[0, 1, :4, 4:6] = 1  # half of the second
    found = attention_loss(attended, target)
    expected = -(math.log(0.7 + 1e-3) + math.log(0.125 + 1e-3)) / 2
    assert found[0].item() == pytest.approx(expected) and found[1] == 0


def test_similarity_by_hand():
    logits = torch.tensor([[[0.0, 2.0]]])  # two cells, of 2 x 2 pixels each
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]])
    left = 0.75 * 8 * math.log(2) + 0.25 * math.log(2)
    right = math.log(1 + math.exp(2))
    assert similarity_loss(logits, target).item() == pytest.approx((left + right) / 2)


def test_nouns_are_summed_and_names_cover_them():
    torch.manual_seed(0)
    labels = torch.full((2, 8, 8), -1)
    labels[0, :4, :4], labels[0, 4:, 4:], labels[1, :, :4] = 0, 1, 1
    covers = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    logits = torch.randn(2, 3, 2, 2)
    found = noun_loss(logits, labels, covers)
    expected = 0
    for k, meant in enumerate(([0], [1], [0, 1])):
        target = torch.isin(labels, torch.tensor(meant)).float()
        expected += similarity_loss(logits[:, k], target).mean()
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    sure = torch.stack(  # where each name is seen; of the first nothing in the second image
        [torch.isin(labels[:, ::4, ::4], torch.tensor(m)).float() for m in ([0], [1], [0, 1])], 1
    )
    assert noun_loss(sure, labels, covers)["hit"] == 1
    assert noun_loss(-sure, labels, covers)["hit"] == 0
