"""Attention and time embedding shared by the adapters and the TAM."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# Time is measured in blocks; one block spans this many units of the sine embedding, so that
# neighbouring frames of a 64-frame block are one unit apart, as positions of a sentence are.
UNITS_PER_BLOCK = 64.0


class Attention(nn.Module):
    """Multi-head attention of one sequence to another (or to itself)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor, context_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, Lq, D) queries.
            context: (N, Lk, D) keys and values. Where one of both is of N = 1, all share it.
            context_mask: (N, Lk) bool, False at padding; every row holds at least one True.

        Returns:
            (N, Lq, D)
        """
        key, value = self.key_value(context).chunk(2, dim=-1)
        if are_few(key, x, self.num_heads):
            query, out = ((y.weight, y.bias) for y in (self.query, self.out))
            return attend_to_few(x, key, value, query, out, self.num_heads, context_mask)
        query, key, value = shared(self.query(x), key, value)
        return self.out(attend_heads(query, key, value, self.num_heads, context_mask))

    def with_weights(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The same without a mask, and how much of each key a query takes: (N, Lq, Lk), the mean of
        the heads."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        query, key, value = (
            rearrange(y, "n l (h d) -> n h l d", h=self.num_heads)
            for y in (self.query(x), key, value)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        weights = scores.softmax(dim=-1)
        return self.out(rearrange(weights @ value, "n h l d -> n l (h d)")), weights.mean(dim=1)


def attend_heads(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention of several heads, whose channels lie side by side.

    Args:
        query: (N, Lq, D); key and value: (N, Lk, D).
        mask: (N, Lk) bool, False at padding.

    Returns:
        (N, Lq, D)
    """
    query, key, value = (
        rearrange(x, "n l (h d) -> n h l d", h=num_heads) for x in (query, key, value)
    )
    named = {"attn_mask": None if mask is None else mask[:, None, None, :]}  # (N, 1, 1, Lk)
    if dropout:
        named["dropout_p"] = dropout
    attended = F.scaled_dot_product_attention(query, key, value, **named)
    return rearrange(attended, "n h l d -> n l (h d)")


def are_few(key: Tensor, x: Tensor, num_heads: int) -> bool:
    """Whether :func:`attend_to_few` is the cheaper way: the words of a sentence for the cells of a
    map."""
    return key.shape[1] * num_heads <= x.shape[2] < x.shape[1]


def attend_to_few(
    x: Tensor,
    key: Tensor,
    value: Tensor,
    query: tuple[Tensor, Tensor],
    out: tuple[Tensor, Tensor],
    num_heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """``out(attend_heads(query(x), key, value))`` of many x to few keys, with both projections
    folded into keys and values: x then meets (keys * heads) columns instead of D, twice.

    Args:
        query, out: weight and bias of the projections.

    Shapes:
        x (N, Lq, D); key and value (N, Lk, D); mask (N, Lk) bool -> (N, Lq, D). Where x or all
        others are of N = 1, they are shared.
    """
    key, value = (rearrange(y, "n l (h d) -> n l h d", h=num_heads) for y in (key, value))
    key = key * key.shape[-1] ** -0.5
    heads = rearrange(query[0], "(h d) c -> h d c", h=num_heads)
    columns = torch.einsum("nlhd,hdc->nclh", key, heads).flatten(2)  # (N, D, Lk * heads)
    bias = torch.einsum("nlhd,hd->nlh", key, rearrange(query[1], "(h d) -> h d", h=num_heads))
    if mask is not None:
        bias = bias.masked_fill(~mask[..., None], float("-inf"))
    scores = torch.matmul(x, columns) + bias.flatten(1)[:, None]
    weights = scores.unflatten(-1, (-1, num_heads)).softmax(dim=-2).flatten(2)
    heads = rearrange(out[0], "o (h d) -> o h d", h=num_heads)
    rows = torch.einsum("nlhd,ohd->nlho", value, heads).flatten(1, 2)  # (N, Lk * heads, D)
    return torch.matmul(weights, rows) + out[1]


def shared(*tensors: Tensor) -> list[Tensor]:
    """Those of N = 1 as often as the others are, without a copy."""
    count = max(len(x) for x in tensors)
    return [x if len(x) == count else x.expand(count, *x.shape[1:]) for x in tensors]


def join_patches(tokens: Tensor, shape: torch.Size, patch: int) -> Tensor:
    """Tokens of P x P patches over all frames, (B * H/P * W/P, T * P * P, D), as maps of ``shape``
    (B, T, H, W, D)."""
    return rearrange(
        tokens,
        "(b h w) (t p q) d -> b t (h p) (w q) d",
        b=shape[0],
        h=shape[2] // patch,
        p=patch,
        q=patch,
    )


def over_time(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of the series (B * H * W, D, T) at each position of x (B, T, H, W, D)."""
    batch, _, height, width, _ = x.shape
    series = function(rearrange(x, "b t h w d -> (b h w) d t"))
    return rearrange(series, "(b h w) d t -> b t h w d", b=batch, h=height, w=width)


def time_embedding(times: Tensor, dim: int) -> Tensor:
    """Sine embedding of true frame times.

    Clips differ in their spacing, so the index in the clip would say nothing about speed.

    Args:
        times: (...) position inside the block, in blocks (0 = its first frame, 1 = its length).
        dim: even number of channels.

    Returns:
        (..., dim) float32
    """
    half = dim // 2
    exponent = torch.arange(half, device=times.device, dtype=torch.float32) / half
    angle = times.float().unsqueeze(-1) * UNITS_PER_BLOCK / (1000.0**exponent)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def sine_grid(side: int, dim: int) -> Tensor:
    """2-D sine embedding of the cells of a small square, row by row.

    Wavelengths run from 6 cells to over 100, so that neighbouring cells differ clearly and distance
    stays nearly linear in the slow channels.

    Returns:
        (side * side, dim) float32; dim a multiple of 4.
    """
    quarter = dim // 4
    frequency = 20.0 ** (-torch.arange(quarter, dtype=torch.float32) / quarter)
    angle = torch.arange(side, dtype=torch.float32)[:, None] * frequency  # (side, dim / 4)
    return _crossed(angle, angle).flatten(0, 1)


def place_embedding(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """2-D sine embedding of the cells of a whole map, the same for maps of any resolution.

    Wavelengths run from four pictures down to a quarter of one: a mean over the cells of an object
    keeps its place in the slow channels, and its size in the fast ones.

    Returns:
        (height, width, dim) float32; dim a multiple of 4.
    """
    quarter = dim // 4
    frequency = math.pi / 2 * 16.0 ** (torch.arange(quarter, device=device) / (quarter - 1))

    def angle(cells: int) -> Tensor:
        centres = (torch.arange(cells, device=device) + 0.5) / cells - 0.5
        return centres[:, None] * frequency  # (cells, dim / 4)

    return _crossed(angle(height), angle(width))


def _crossed(rows: Tensor, columns: Tensor) -> Tensor:
    """Sines and cosines of angles by row (H, C) and by column (W, C), of each cell: (H, W, 4C)"""
    rows, columns = (torch.cat([x.sin(), x.cos()], dim=-1) for x in (rows, columns))
    size = len(rows), len(columns), -1
    return torch.cat([rows[:, None].expand(size), columns[None].expand(size)], dim=-1)
