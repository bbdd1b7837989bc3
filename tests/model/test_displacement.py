"""How cells move: found by matching, told to the TAM by what it attends to."""

import pytest
import torch
from networks import build, difference, drawn_up_projections, trained_stage

from tgl_e2e.data.clips import Clip, collate
from tgl_e2e.model.displacement import CHANNELS, UNIT, displacements, measure
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.losses import attention_loss
from tgl_e2e.training.module import TrainingModule

SMALL = {"vision.image_size": 64, "adapter.patch_sizes": [4, 2, 1], "block": 16}


def moved(maps: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """(N, C, H, W) as a camera sees them that goes the other way; what comes in is new."""
    rolled = maps.roll((down, right), dims=(2, 3))
    fresh = torch.randn_like(maps)
    rows, columns = torch.arange(maps.shape[2]), torch.arange(maps.shape[3])
    inside = ((rows >= down) & (rows - down < maps.shape[2]))[:, None]
    inside = inside & (columns >= right) & (columns - right < maps.shape[3])
    return torch.where(inside, rolled, fresh)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (-1, 2), (0, -3)])
def test_displacements_of_a_moved_map(right, down):
    torch.manual_seed(0)
    first = torch.randn(2, 32, 12, 14)
    ahead, behind = displacements(first, moved(first, right, down), 3)
    inner = (..., slice(4, -4), slice(4, -4))
    expected = torch.tensor([right, down, 1.0]).view(1, 3, 1, 1)
    assert (ahead[inner] - expected).abs().max() < 1e-2
    assert (
        behind[inner] - expected * torch.tensor([-1, -1, 1]).view(1, 3, 1, 1)
    ).abs().max() < 1e-2


def test_nothing_is_found_beyond_the_radius_or_the_picture():
    torch.manual_seed(0)
    first = torch.randn(1, 32, 12, 12)
    ahead, _ = displacements(first, moved(first, 5, 0), 3)
    assert ahead[:, 2, 4:-4, :4].max() < 0.9  # what is there is something else
    rows = torch.arange(12.0).view(1, 12, 1)
    assert (ahead[:, 1] + rows).min() >= -1e-4 and (ahead[:, 1] + rows).max() <= 11 + 1e-4


def test_what_is_told_of_a_window():
    """An object that goes right before a camera that goes down; two windows know nothing of one
    another."""
    torch.manual_seed(0)
    world, thing = torch.randn(16, 40, 40), torch.randn(16, 6, 6)
    frames = []
    for t in range(4):
        view = world[:, 10 + t : 26 + t, 8:24].clone()
        view[:, 5:11, 2 + 2 * t : 8 + 2 * t] = thing
        frames.append(view.permute(1, 2, 0))
    window = torch.stack(frames)
    told = measure(torch.cat([window, window.flip(0)]), 4, 3 / 16)
    assert told.shape == (8, 10, 16, 16)
    cell = 1 / 16 / UNIT
    for t, inside in ((1, (8, 7)), (2, (8, 9))):
        at = (t, slice(None), *inside)
        expected = torch.tensor([2.0, 0, -2, 0, 2, 1, -2, -1]) * cell  # next, last; less the camera
        assert (told[at][:8] - expected).abs().max() < 0.05
        assert told[at][8:].min() > 0.9
    assert (told[1, :4, 2, 13] - torch.tensor([0, -1.0, 0, 1]) * cell).abs().max() < 0.05
    assert (told[1, 4:8, 2, 13]).abs().max() < 0.05
    # At the ends the other neighbour stands in; turned round, everything goes back.
    assert difference(told[0, :2], -told[0, 2:4]) < 1e-6
    assert difference(told[3, :2], -told[3, 2:4]) < 1e-6
    assert difference(told[4:, :2], told[:4, 2:4].flip(0)) < 1e-4


def test_a_frame_by_itself_does_not_move():
    measured = measure(torch.randn(3, 16, 16, 4), 1, 0.2)
    assert measured.shape == (3, CHANNELS, 16, 16) and not measured.any()


@pytest.fixture(scope="module")
def model():
    return build("tiny", **SMALL, **{"tam.moves": 0.2})


def test_masks_teach_what_to_attend_to(model):
    still = {"frames": torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)}
    target = torch.zeros(4, 64, 64, dtype=torch.bool)
    target[:, 8:40, 16:48] = True
    seen = torch.tensor([True, False, True, True])
    clip = Clip(
        "x", text="the cat", positions=torch.arange(4), relevant=seen, target=target, **still
    )
    losses = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)  # of the clips that are judged by what moves alone
        config = TrainConfig(num_frames=4, attention_weight=weight)
        with drawn_up_projections(model), trained_stage(model, "align"):
            losses[weight], output = TrainingModule(model, "align", config)(collate([clip]))
            if weight:
                losses[weight]["loss"].backward()
                assert model.tam.pool.query.weight.grad.any()
                assert model.tam.moves.told.weight.grad.any()
                found = attention_loss(output.adapted.attended, target[None]).mean()
    assert torch.allclose(losses[0.5]["attention"], found) and "attention" not in losses[0.0]
    assert torch.allclose(losses[0.5]["loss"], losses[0.0]["loss"] + 0.5 * found, atol=1e-4)


@torch.no_grad()
def test_expressions_share_what_moves(model):
    frames = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    tokens = model.text.tokenize(["the cat that jumps", "a dog"])
    times = torch.arange(4)[None].expand(2, -1) / 16
    with drawn_up_projections(model):
        prefix = model.encode_prefix(frames)
        shared = model.extract_adapted(prefix, tokens, times)
        apart = model.extract_adapted([x.repeat(2, 1, 1, 1) for x in prefix], tokens, times)
        assert difference(shared.features.top, apart.features.top) < 1e-5
        assert difference(shared.attended, apart.attended) < 1e-4
        assert difference(shared.relevance, apart.relevance) < 1e-4
        backwards = model.extract_adapted([x.flip(0) for x in prefix], tokens, times)
        assert difference(shared.relevance, backwards.relevance.flip(1)) > 1e-4
        with torch.no_grad():
            model.tam.moves.told.weight.neg_()
            otherwise = model.extract_adapted(prefix, tokens, times)
            model.tam.moves.told.weight.neg_()
        assert difference(shared.relevance, otherwise.relevance) > 1e-4


def test_it_is_trained_with_the_tam_and_saved(model, tmp_path):
    for stage in ("align", "video", "moments"):
        with trained_stage(model, stage):
            trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert {"tam.moves.told.weight", "tam.moves.told.bias"} <= trained
    model.save_pretrained(tmp_path, include_frozen=True)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(again.tam.moves.told.weight, model.tam.moves.told.weight)
