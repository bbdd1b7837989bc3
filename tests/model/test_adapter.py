"""Cross-modal adapters, and the temporal attention inside them."""

import pytest
import torch
from networks import difference
from torch import nn

from tgl_e2e.model import cpu
from tgl_e2e.model.adapter import (
    CrossModalAdapter,
    TemporalAttention,
    TemporalDifference,
    resize_patch,
)
from tgl_e2e.model.samwise import SamwiseAdapter

B, T, H, W, C, L, D = 2, 3, 8, 8, 24, 5, 20


def build_adapter(
    patch_size: int | None, drawn: bool = True, differences: bool = False, places: bool = False
) -> CrossModalAdapter:
    torch.manual_seed(0)
    adapter = CrossModalAdapter(C, D, 16, 4, patch_size, differences, places)
    if drawn:
        for up in (adapter.visual_up, adapter.text_up):
            nn.init.normal_(up.weight)
        if places:
            nn.init.normal_(adapter.place.weight)
    return adapter.eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    mask = torch.ones(B, L, dtype=torch.bool)
    mask[1, 3:] = False
    times = torch.tensor([[0.0, 0.1, 0.5], [0.2, 0.3, 0.9]])
    return torch.randn(B, T, H, W, C), torch.randn(B, L, D), mask, times


def test_untrained_adapter_changes_nothing(inputs):
    visual, text, mask, times = inputs
    found = build_adapter(4, drawn=False)(visual, text, mask, times)
    assert torch.equal(found[0], visual) and torch.equal(found[1], text)
    adapter = build_adapter(4, drawn=False, differences=True, places=True)
    found = adapter(visual, text, mask, times)
    assert torch.equal(found[0], visual) and torch.equal(found[1], text)


@torch.no_grad()
def test_each_stream_learns_of_the_other(inputs):
    visual, text, mask, times = inputs
    adapter = build_adapter(None)
    fused, told = adapter(visual, text, mask, times)
    assert fused.shape == visual.shape and told.shape == text.shape
    other_text = adapter(visual, text + torch.randn_like(text), mask, times)[0]
    assert difference(other_text - visual, fused - visual) > 1e-2
    changed = visual.clone()
    changed[:, 2, 7, 7] += torch.randn(C)  # one token of the last frame
    assert difference(adapter(changed, text, mask, times)[1], told) > 1e-4


@torch.no_grad()
def test_frames_meet_only_through_temporal_attention(inputs):
    visual, text, mask, times = inputs
    changed = visual.clone()
    changed[:, 1] += torch.randn(B, H, W, C)
    without = build_adapter(None)
    before, after = (without(v, text, mask, times)[0] for v in (visual, changed))
    assert difference(before[:, [0, 2]], after[:, [0, 2]]) < 1e-6
    with_time = build_adapter(4)
    before, after = (with_time(v, text, mask, times)[0] for v in (visual, changed))
    assert difference(before[:, [0, 2]], after[:, [0, 2]]) > 1e-3


@torch.no_grad()
def test_padding_tokens_say_nothing(inputs):
    visual, text, mask, times = inputs
    adapter = build_adapter(4)
    fused, told = adapter(visual, text, mask, times)
    noisy = torch.where(mask[..., None], text, torch.randn_like(text) * 10)
    again, told_again = adapter(visual, noisy, mask, times)
    assert difference(fused, again) < 1e-5
    assert difference(told[mask], told_again[mask]) < 1e-5
    short = adapter(visual[1:], text[1:, :3], mask[1:, :3], times[1:])
    assert difference(short[0], fused[1:]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("patch", [2, 4])
def test_tokens_see_their_own_patch_alone(patch):
    """In all frames of their clip, and nothing of another patch or clip."""
    torch.manual_seed(0)
    module = TemporalAttention(16, 4, patch).eval()
    x, times = torch.randn(B, T, H, W, 16), torch.tensor([[0.0, 0.1, 0.5], [0.2, 0.3, 0.9]])
    before = module(x, times)
    changed = x.clone()
    changed[0, 1, 5, 2] += torch.randn(16)  # more than LayerNorm takes away
    moved = (module(changed, times) - before).abs().amax(dim=-1) > 1e-6  # (B, T, H, W)
    expected = torch.zeros_like(moved)
    rows, columns = 5 // patch * patch, 2 // patch * patch
    expected[0, :, rows : rows + patch, columns : columns + patch] = True
    assert torch.equal(moved, expected)


@torch.no_grad()
def test_order_in_time_and_place_in_the_patch_count():
    torch.manual_seed(0)
    module = TemporalAttention(16, 4, 4).eval()
    x, times = torch.randn(1, T, H, W, 16), torch.tensor([[0.0, 0.2, 0.5]])
    before = module(x, times)
    assert difference(module(x, times.flip(1)), before) > 1e-3
    assert difference(module(x, times * 2), before) > 1e-3
    swapped = x.clone()
    swapped[:, 0, 0, 0], swapped[:, 0, 3, 3] = x[:, 0, 3, 3], x[:, 0, 0, 0]
    # without an embedding of the place, other tokens would not notice the swap
    assert difference(module(swapped, times)[:, 1:], before[:, 1:]) > 1e-5


@torch.no_grad()
def test_differences_of_neighbouring_frames():
    module = TemporalDifference(4)
    x = torch.randn(2, 5, 3, 3, 4)
    found = module(x)
    since, until = torch.zeros_like(x), torch.zeros_like(x)
    since[:, 1:] = x[:, 1:] - x[:, :-1]  # the first frame has none before it
    until[:, :-1] = x[:, 1:] - x[:, :-1]
    assert difference(found[..., 0::2], since[..., 0::2]) < 1e-6
    assert difference(found[..., 1::2], until[..., 1::2]) < 1e-6
    assert not module(x[:, :1]).any() and not module(x[:, :1].expand(-1, 4, -1, -1, -1)).any()


@torch.no_grad()
def test_adapter_with_differences_sees_the_neighbouring_frames(inputs):
    visual, text, mask, times = inputs
    adapter = build_adapter(None, differences=True)
    changed = visual.clone()
    changed[:, 0, 3, 3] += torch.randn(C)
    moved = (
        adapter(changed, text, mask, times)[0] - adapter(visual, text, mask, times)[0]
    ).abs().amax(dim=-1) > 1e-6
    assert moved[:, 0, 3, 3].all() and moved[:, 1, 3, 3].all()
    assert not moved[:, 2].any() and moved.sum() == 2 * B


@torch.no_grad()
def test_places_tell_equal_tokens_apart_and_begin_as_nothing(inputs):
    visual, text, mask, times = inputs
    alike = visual[:, :, :1, :1].expand(-1, -1, H, W, -1)

    def spread(adapter: CrossModalAdapter) -> torch.Tensor:
        return adapter(alike, text, mask, times)[0].flatten(2, 3).std(dim=2).mean()

    adapter = build_adapter(None, places=True)
    assert spread(build_adapter(None)) < 1e-5 < 0.05 < spread(adapter)
    nn.init.zeros_(adapter.place.weight)  # as before training, whatever else was learned
    without = build_adapter(None)
    without.load_state_dict(adapter.state_dict(), strict=False)
    assert torch.equal(adapter(*inputs)[0], without(*inputs)[0])


@pytest.mark.parametrize("patch_size, pieces", [(None, 8), (4, 2)])
def test_a_map_in_strips_gives_the_same(inputs, monkeypatch, patch_size, pieces):
    """For inference on a CPU; strips are of whole temporal patches."""
    adapter = build_adapter(patch_size, differences=True, places=True)
    with torch.no_grad():
        whole = adapter(*inputs)
        monkeypatch.setattr(cpu, "VALUES_AT_ONCE", 1)
        seen = []
        adapter.visual_down.register_forward_hook(lambda module, given, out: seen.append(1))
        strips = adapter(*inputs)
    assert len(seen) == pieces
    for a, b in zip(whole, strips, strict=True):
        assert difference(a, b) < 1e-5
    seen.clear()
    adapter(*inputs)  # with gradients the map stays whole
    assert len(seen) == 1


def test_positions_of_a_patch_spread_over_a_larger_one():
    ramp = torch.arange(4.0)
    rows = ramp[:, None].expand(4, 4).reshape(16, 1)  # the row of each token, in raster order
    columns = ramp.repeat(4)[:, None]
    position = torch.cat([rows, columns], dim=1)
    assert torch.equal(resize_patch(position, 4), position)
    found = resize_patch(position, 8).reshape(8, 8, 2)
    # Cell i of 8 has its centre at (i + 1/2) / 2 of 4 cells, whose first centre is at 1/2.
    expected = ((torch.arange(8) + 0.5) / 2 - 0.5).clamp(0, 3)
    assert torch.allclose(found[..., 0], expected[:, None].expand(8, 8))
    assert torch.allclose(found[..., 1], expected.expand(8, 8))


@pytest.mark.parametrize("kind", [CrossModalAdapter, SamwiseAdapter])
def test_sentences_share_what_a_clip_shows_by_itself(inputs, kind):
    visual, text, mask, times = inputs
    torch.manual_seed(0)
    adapter = kind(C, D, 16, 4, 4).eval()
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3)
    times = times[:1].expand(B, -1)
    with torch.no_grad():
        found = adapter(visual[:1], text, mask, times)
        apart = adapter(visual[:1].repeat(B, 1, 1, 1, 1), text, mask, times)
    assert difference(found[0], apart[0]) < 1e-5 and difference(found[1], apart[1]) < 1e-5
    assert difference(found[0][0], found[0][1]) > 1e-3
