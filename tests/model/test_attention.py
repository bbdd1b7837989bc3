"""Attention and time embedding."""

import math

import pytest
import torch
from networks import difference
from torch import nn

from tgl_e2e.model.attention import Attention, are_few, attend_heads, sine_grid, time_embedding


@torch.no_grad()
def test_attention_equals_torchs_own():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, context = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    expected, _ = theirs(x, context, context, key_padding_mask=~mask)
    assert difference(ours(x, context, mask), expected) < 1e-6


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="16 is not divisible by num_heads 3"):
        Attention(16, 3)


def test_time_embedding_by_hand():
    found = time_embedding(torch.tensor([0.25]), 4)  # 16 units of a block's 64
    second = 16 / math.sqrt(1000)
    expected = [math.sin(16), math.sin(second), math.cos(16), math.cos(second)]
    assert found.shape == (1, 4)
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert time_embedding(torch.zeros(2, 3), 6)[1, 2].tolist() == [0, 0, 0, 1, 1, 1]


def test_sine_grid_tells_cells_and_distances_apart():
    grid = sine_grid(8, 32)
    assert grid.shape == (64, 32) and grid.abs().max() <= 1
    cells = grid.view(8, 8, 32)
    # rows in the first half, columns in the second
    assert torch.equal(cells[3, 0, :16], cells[3, 7, :16])
    assert torch.equal(cells[0, 3, 16:], cells[7, 3, 16:])
    assert torch.equal(cells[2, 5, :16], cells[5, 2, 16:])
    apart = torch.cdist(grid, grid) + torch.eye(64)
    assert apart.min() > 0.5
    line = torch.cdist(cells[0, :1], cells[0])[0]
    assert (line[:5].diff() > 0).all() and (line[5:] > line[3]).all()  # far cells are less alike


@pytest.mark.parametrize("shared_by", ["nobody", "queries", "keys"])
def test_few_keys_are_attended_to_as_many_are(shared_by):
    """Words of a sentence, cells of a map: both projections are folded into the words."""
    torch.manual_seed(0)
    ours = Attention(32, 4)
    x = torch.randn(1 if shared_by == "queries" else 3, 60, 32, requires_grad=True)
    context = torch.randn(1 if shared_by == "keys" else 3, 5, 32)
    mask = torch.ones(len(context), 5, dtype=torch.bool)
    mask[-1, 3:] = False
    assert are_few(context, x, 4) and not are_few(context, x[:, :4], 4)
    found = ours(x, context, mask)
    gradient = torch.autograd.grad(found.square().sum(), x)[0]
    key, value = ours.key_value(context).chunk(2, dim=-1)
    query, key, value, seen = (y.expand(3, *y.shape[1:]) for y in (ours.query(x), key, value, mask))
    expected = ours.out(attend_heads(query, key, value, 4, seen))
    assert difference(found, expected) < 1e-5
    assert difference(gradient, torch.autograd.grad(expected.square().sum(), x)[0]) < 1e-4
    assert difference(ours(x[:, :4], context, mask), expected[:, :4]) < 1e-5  # the other way
