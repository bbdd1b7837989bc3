"""A forward pass of our own over the weights of SAM2's memory attention.

Three things that SAM2's own cannot do: keys on another grid than the queries (pooled memories),
keys projected once for all frames that see the same memories, and sums over memories in the 64
channels that they have instead of the 256 that they are projected to. With ``A`` the attention
weights, whose rows sum to one, and ``M`` the memory, ``A (M W + b) = (A M) W + b``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tgl_e2e.model import cpu


@dataclass
class MemoryTokens:
    """What N frames attend to.

    spatial: (N or 1, K * h * w, Cm) tokens of K memories, row by row; 1 where all frames see the
    same ones; spatial_pos: (K * h * w, Cm); pointers, pointer_pos: (N, P, Cm); pool: side of the
    squares of feature-map cells that one spatial token stands for.
    """

    spatial: Tensor
    spatial_pos: Tensor
    pointers: Tensor
    pointer_pos: Tensor
    pool: int = 1


def attend_to_memory(attention: nn.Module, x: Tensor, pos: Tensor, memory: MemoryTokens) -> Tensor:
    """SAM2's ``MemoryAttention.forward``.

    Args:
        attention: the module that holds the weights.
        x: (N, H * W, C) tokens of N square feature maps.
        pos: (1, H * W, C) their position embedding.

    Returns:
        (N, H * W, C)
    """
    if attention.pos_enc_at_input:
        x = x + 0.1 * pos
    side = math.isqrt(x.shape[1])
    turns = rope_turns(attention.layers[0].self_attn, side, 1, x.device)
    key_turns = rope_turns(attention.layers[0].cross_attn_image, side, memory.pool, x.device)
    for layer in attention.layers:
        x = x + layer.dropout1(_self_attention(layer, x, pos, turns))
        x = x + layer.dropout2(_cross_attention(layer, x, pos, memory, turns, key_turns))
        x = x + layer.dropout3(_feed_forward(layer, x))
    return attention.norm(x)


def _feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    """(N, L, C) -> (N, L, C)"""

    def forward(tokens: Tensor) -> Tensor:
        return layer.linear2(layer.dropout(layer.activation(layer.linear1(tokens))))

    tokens = layer.norm3(x).flatten(0, 1)
    return cpu.by_rows(forward, tokens, dim=0, values=layer.linear1.out_features).view(x.shape)


def rope_turns(rope: nn.Module, side: int, pool: int, device: torch.device) -> Tensor:
    """Rotations of SAM2's axial rotary embedding at the centres of a grid's cells.

    Args:
        side: of the feature map; pool: cells of it that one cell of the grid spans.

    Returns:
        ((side / pool)^2, D / 2, 2) cosine and sine
    """
    at = torch.arange(side // pool, dtype=torch.float32, device=device) * pool + (pool - 1) / 2
    dim = rope.internal_dim // rope.num_heads
    exponent = torch.arange(0, dim, 4, dtype=torch.float32, device=device)[: dim // 4] / dim
    angles = at[:, None] / rope.compute_cis.keywords["theta"] ** exponent  # (side / pool, D / 4)
    count = len(at)
    both = torch.cat([angles.expand(count, -1, -1), angles[:, None].expand(-1, count, -1)], dim=-1)
    return torch.stack([both.cos(), both.sin()], dim=-1).flatten(0, 1)


def _rotate(x: Tensor, turns: Tensor) -> Tensor:
    """x (..., L, D), turned token by token; L a multiple of the number of turns."""
    pairs = x.float().unflatten(-1, (-1, 2)).unflatten(-3, (-1, len(turns)))
    turned = torch.view_as_real(
        torch.view_as_complex(pairs.contiguous()) * torch.view_as_complex(turns)
    )
    return turned.flatten(-2).flatten(-3, -2).to(x.dtype)


def _heads(x: Tensor, count: int) -> Tensor:
    """(N, L, D) -> (N, heads, L, D / heads)"""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def _self_attention(layer: nn.Module, x: Tensor, pos: Tensor, turns: Tensor) -> Tensor:
    rope = layer.self_attn
    x = layer.norm1(x)
    place = x + pos if layer.pos_enc_at_attn else x
    query, key, value = (
        _heads(projection(y), rope.num_heads)
        for projection, y in ((rope.q_proj, place), (rope.k_proj, place), (rope.v_proj, x))
    )
    query, key = _rotate(query, turns), _rotate(key, turns)
    return rope.out_proj(_attention(rope, query, key, value).transpose(1, 2).flatten(2))


def _cross_attention(
    layer: nn.Module, x: Tensor, pos: Tensor, memory: MemoryTokens, turns: Tensor, key_turns: Tensor
) -> Tensor:
    rope = layer.cross_attn_image
    x = layer.norm2(x)
    query = rope.q_proj(x + pos if layer.pos_enc_at_cross_attn_queries else x)
    query = _rotate(_heads(query, rope.num_heads), turns)  # (N, heads, HW, D)

    spatial, pointers = memory.spatial, memory.pointers
    if layer.pos_enc_at_cross_attn_keys:
        spatial, pointers = spatial + memory.spatial_pos, pointers + memory.pointer_pos
    key = _rotate(_heads(rope.k_proj(spatial), rope.num_heads), key_turns)
    pointer_key = _heads(rope.k_proj(pointers), rope.num_heads)
    bias = None
    if memory.pool > 1:  # a pooled token weighs as much as the tokens that it stands for
        bias = torch.zeros(key.shape[2] + pointer_key.shape[2], device=x.device)
        bias[: key.shape[2]] = 2 * math.log(memory.pool)

    if rope.num_heads == 1 and cpu.usable(query, key, memory.spatial):

        def of(n: int, spatial: Tensor, own: Tensor) -> Tensor:
            return torch.cat([spatial[n if len(spatial) > 1 else 0], own[n]]).to(query.dtype)

        attended = torch.stack(
            [
                cpu.attend(
                    query[n, 0],
                    of(n, key[:, 0], pointer_key[:, 0]),
                    of(n, memory.spatial, memory.pointers),
                    bias,
                )
                for n in range(len(x))
            ]
        )  # (N, HW, Cm)
        return rope.out_proj(rope.v_proj(attended))
    count = len(x)
    value = torch.cat(
        [rope.v_proj(memory.spatial).expand(count, -1, -1), rope.v_proj(memory.pointers)], dim=1
    )
    key = torch.cat([key.expand(count, -1, -1, -1), pointer_key], dim=2)
    attended = _attention(rope, query, key, _heads(value, rope.num_heads), bias)
    return rope.out_proj(attended.transpose(1, 2).flatten(2))


def _attention(
    rope: nn.Module, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(N, heads, L, D) each; bias: per key."""
    if bias is None and not rope.training:
        return F.scaled_dot_product_attention(query, key, value)  # see cpu.FastProducts
    mask = None if bias is None else bias.to(query.dtype).expand(query.shape[-2], -1)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=rope.dropout_p if rope.training else 0.0
    )
