"""The Temporal Alignment Module."""

import math

import pytest
import torch
from einops import rearrange
from networks import difference
from torch import nn

from tgl_e2e.model.attention import place_embedding
from tgl_e2e.model.displacement import CHANNELS
from tgl_e2e.model.features import Evidence
from tgl_e2e.model.tam import TemporalAlignmentModule, TemporalEncoder

B, T, H, W, C, L, D = 2, 4, 4, 4, 24, 5, 20


def score(tam: TemporalAlignmentModule, *evidence: torch.Tensor) -> torch.Tensor:
    return tam(Evidence(*evidence))[0]


def build_tam(pooling: str, drawn: bool = True) -> TemporalAlignmentModule:
    torch.manual_seed(0)
    tam = TemporalAlignmentModule(C, D, dim=16, num_heads=4, num_layers=2, pooling=pooling)
    if drawn:
        nn.init.normal_(tam.temporal_encoder.up.weight)
    return tam.eval()


@pytest.fixture(params=["mean", "text", "place"])
def pooling(request):
    return request.param


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    mask = torch.ones(B, L, dtype=torch.bool)
    mask[1, 3:] = False
    times = torch.tensor([[0.0, 0.05, 0.3, 0.9], [0.1, 0.2, 0.6, 0.7]])
    return torch.randn(B, T, H, W, C), torch.randn(B, L, D), mask, times


@torch.no_grad()
def test_one_score_per_frame_from_both_streams(inputs, pooling):
    visual, text, mask, times = inputs
    tam = build_tam(pooling)
    scores = score(tam, visual, text, mask, times)
    assert scores.shape == (B, T) and scores.dtype == torch.float32
    assert difference(score(tam, visual, text + torch.randn(B, L, D), mask, times), scores) > 1e-3
    assert (
        difference(score(tam, visual + torch.randn_like(visual), text, mask, times), scores) > 1e-2
    )


@torch.no_grad()
def test_padding_tokens_do_not_matter(inputs, pooling):
    visual, text, mask, times = inputs
    tam = build_tam(pooling)
    scores = score(tam, visual, text, mask, times)
    noisy = torch.where(mask[..., None], text, torch.randn_like(text) * 10)
    assert difference(score(tam, visual, noisy, mask, times), scores) < 1e-6
    short = score(tam, visual[1:], text[1:, :3], mask[1:, :3], times[1:])
    assert difference(short, scores[1:]) < 1e-5


@torch.no_grad()
def test_true_times_count_and_not_the_order_alone(inputs, pooling):
    visual, text, mask, times = inputs
    tam = build_tam(pooling)
    scores = score(tam, visual, text, mask, times)
    evenly = torch.linspace(0, 0.9, T).expand(B, -1)  # the same order
    assert difference(score(tam, visual, text, mask, evenly), scores) > 1e-3
    later = times + 0.1
    assert difference(score(tam, visual, text, mask, later), scores) > 1e-3


@torch.no_grad()
def test_clips_do_not_mix_and_frames_do(inputs, pooling):
    visual, text, mask, times = inputs
    tam = build_tam(pooling)
    scores = score(tam, visual, text, mask, times)
    changed = visual.clone()
    changed[0, 0] += torch.randn(H, W, C)
    again = score(tam, changed, text, mask, times)
    assert difference(again[1], scores[1]) < 1e-6
    assert ((again[0] - scores[0]).abs() > 1e-4).all()  # queries attend to each other


@torch.no_grad()
def test_temperature_divides_and_stays_positive(inputs):
    visual, text, mask, times = inputs
    tam = build_tam("mean")
    scores = score(tam, visual, text, mask, times)
    tam.log_temperature.fill_(torch.log(torch.tensor(4.0)))
    assert difference(score(tam, visual, text, mask, times) * 4, scores) < 1e-5
    for value in (-5.0, -0.1, 3.0):
        tam.log_temperature.fill_(value)
        assert tam.log_temperature.exp() > 0
        assert torch.equal(score(tam, visual, text, mask, times).sign(), scores.sign())


@torch.no_grad()
def test_text_pooling_weighs_places_and_mean_does_not():
    """An object on one of 16 places: the mean is the same wherever it stands."""
    torch.manual_seed(2)
    visual = torch.zeros(1, 2, H, W, C)
    visual[:, :, 1, 2] = torch.randn(C)
    moved = visual.flip(2)
    text, mask = torch.randn(1, L, D), torch.ones(1, L, dtype=torch.bool)
    times = torch.tensor([[0.0, 0.5]])
    for pooling, least, most in (("mean", 0, 1e-5), ("text", 0, 1e-5), ("place", 1e-3, 100)):
        tam = build_tam(pooling)
        change = difference(
            score(tam, visual, text, mask, times), score(tam, moved, text, mask, times)
        )
        assert least <= change < most, pooling
    tam = build_tam("text")
    nn.init.normal_(tam.pool.query.weight, std=3)
    nn.init.normal_(tam.pool.key_value.weight, std=3)
    words = tam.text_proj(tam.text_norm(text))
    features = torch.randn(1, 2, H, W, 16)
    pooled, _ = tam._pool(features, words)
    assert difference(pooled, features.mean(dim=(2, 3))) > 0.1
    other = words.clone()
    other[:, 0] += 5  # [CLS] asks
    assert difference(tam._pool(features, other)[0], pooled) > 1e-2


def test_places_are_those_of_the_picture_at_any_resolution():
    """An object's mean place is linear enough in it to show which way it moved."""
    coarse, fine = (place_embedding(n, n, 32, torch.device("cpu")) for n in (8, 32))
    within = rearrange(fine, "(h p) (w q) d -> h w (p q) d", p=4, q=4).mean(dim=2)
    assert difference(coarse, within) < 1 - 2 / math.pi  # of a half wave in a cell
    slow = fine[:, :, 0]  # a quarter of a wave across half a picture
    assert (slow.diff(dim=0) > 0).all() and (slow.diff(dim=1) == 0).all()


@torch.no_grad()
def test_temporal_encoder_starts_as_identity_and_sees_three_frames_of_one_place():
    torch.manual_seed(0)
    encoder = TemporalEncoder(C, 16)
    visual = torch.randn(1, 6, H, W, C)
    assert torch.equal(encoder(visual), visual)
    nn.init.normal_(encoder.up.weight)
    before = encoder(visual)
    changed = visual.clone()
    changed[0, 2, 1, 3] += 1
    moved = (encoder(changed) - before).abs().amax(dim=-1)[0] > 1e-5  # (T, H, W)
    expected = torch.zeros_like(moved)
    expected[1:4, 1, 3] = True
    assert torch.equal(moved, expected)


@pytest.fixture
def moving():
    """A TAM that is told what moves."""
    torch.manual_seed(0)
    tam = TemporalAlignmentModule(
        C, D, dim=16, num_heads=4, num_layers=2, pooling="place", reach=0.2
    )
    nn.init.normal_(tam.moves.told.weight)
    return tam.eval()


@torch.no_grad()
def test_what_is_attended_to_decides_what_moves(moving):
    """Two objects of which one goes right and one down, before a background at rest."""
    measured = torch.zeros(2, T, CHANNELS, 4 * H, 4 * W)
    measured[:, :, 0, :8, :8], measured[:, :, 1, 8:, 8:] = 1.0, 2.0
    attended = torch.zeros(2, T, H, W)
    attended[0, :, :2, :2], attended[1, :, 2:, 2:] = 1.0, 1.0
    attended = attended / attended.sum(dim=(2, 3), keepdim=True)
    moving.moves.told = nn.Identity()
    told = moving.moves(attended, measured)
    assert told.shape == (2, T, 2 * CHANNELS)
    mean, deviation = told.split((CHANNELS, CHANNELS), dim=-1)
    assert difference(mean[0, :, :2], torch.tensor([1.0, 0.0]).expand(T, 2)) < 1e-5
    assert difference(mean[1, :, :2], torch.tensor([0.0, 2.0]).expand(T, 2)) < 1e-5
    assert deviation.max() < 0.02
    everywhere = moving.moves(torch.full((2, T, H, W), 1 / (H * W)), measured)
    assert everywhere[0, :, CHANNELS].min() > 0.4


@torch.no_grad()
def test_half_of_the_clips_are_judged_by_what_moves_alone(inputs, moving):
    """In training only."""
    visual, *others = inputs
    measured = torch.randn(B, T, CHANNELS, 4 * H, 4 * W)
    changed = visual + torch.randn_like(visual)
    # Whatever is attended to.
    moving.moves.forward = lambda attended, measured: measured.mean(dim=(3, 4))[..., :1]

    def many(x: torch.Tensor) -> torch.Tensor:
        return x[:1].expand(64, *x.shape[1:])

    moving.train()
    scores = []
    for seen in (visual, changed):
        torch.manual_seed(0)
        scores.append(score(moving, *map(many, (seen, *others, measured))))
    blind = (scores[0] == scores[1]).all(dim=1).float().mean()
    assert 0.3 < blind < 0.7
    moving.eval()
    assert (
        difference(
            score(moving, visual, *others, measured), score(moving, changed, *others, measured)
        )
        > 1e-3
    )


@torch.no_grad()
def test_scores_hear_of_what_moves_and_begin_as_if_nothing_did(inputs, moving):
    still = torch.zeros(B, T, CHANNELS, 4 * H, 4 * W)
    measured = torch.randn_like(still)
    assert difference(score(moving, *inputs, measured), score(moving, *inputs, still)) > 1e-2
    nn.init.zeros_(moving.moves.told.weight)
    without = build_tam("place")
    without.load_state_dict(moving.state_dict(), strict=False)
    assert difference(score(moving, *inputs, measured), score(without, *inputs)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["text", "place"])
def test_training_and_inference_attend_alike(inputs, pooling):
    tam, evidence = build_tam(pooling), Evidence(*inputs)
    fast, unknown = tam(evidence)
    scores, attended = tam.train()(evidence)
    assert unknown is None and difference(scores, fast) < 1e-5
    assert attended.shape == (B, T, H, W)
    assert torch.allclose(attended.sum(dim=(2, 3)), torch.ones(B, T))
    assert build_tam("mean").train()(evidence)[1] is None
