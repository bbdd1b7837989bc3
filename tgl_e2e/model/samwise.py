"""Adapter and prompt as SAMWISE has them (Cuttano et al., CVPR 2025), so that its weights fit.

What is different from :mod:`tgl_e2e.model.adapter`: attention multiplies instead of adding, without
norms and MLP; BatchNorm and ReLU around the projections, so that F_Adp is never less than F_SAM;
the text looks at the mean frame of the window; and the prompt is [CLS] alone. BatchNorm keeps the
statistics that it was trained with: windows of a few frames have none worth the name.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn

TEMPERATURE = 1e4  # of the sine embedding of time


class Gate(nn.Module):
    """x * attention(x to context): (N, Lq, D), (N, Lk, D) -> (N, Lq, D)"""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: (N, Lk) bool, False at padding."""
        padding = None if mask is None else ~mask
        attended, _ = self.attention(
            x, context, context, key_padding_mask=padding, need_weights=False
        )
        return x * attended


class HierarchicalSelectiveAttention(nn.Module):
    """Tokens of one P x P patch attend to each other over all frames of the window."""

    def __init__(self, dim: int, num_heads: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.position = nn.Parameter(torch.zeros(patch_size**2, dim))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, dropout=0.1, batch_first=True)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> (B, T, H, W, D), to be added to ``x``."""
        batch, count, height, _, dim = x.shape
        patch = self.patch_size
        tokens = rearrange(x, "b t (h p) (w q) d -> b h w t (p q) d", p=patch, q=patch)
        tokens = tokens + self.position + time_in_window(count, dim).to(x)[:, None]
        tokens = self.norm(rearrange(tokens, "b h w t s d -> (b h w) (t s) d"))
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return rearrange(
            self.linear(attended),
            "(b h w) (t p q) d -> b t (h p) (w q) d",
            b=batch,
            h=height // patch,
            p=patch,
            q=patch,
        )


def time_in_window(count: int, dim: int) -> Tensor:
    """DETR's sine embedding of frames 1 to T of a window, T brought to 2 pi: (T, dim) float32"""
    time = torch.arange(1, count + 1, dtype=torch.float32) / (count + 1e-6) * 2 * math.pi
    channel = torch.arange(dim, dtype=torch.float32)
    angle = time[:, None] / TEMPERATURE ** (2 * (channel // 2) / dim)
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=-1).flatten(1)


class SamwiseAdapter(nn.Module):
    """As :class:`~tgl_e2e.model.adapter.CrossModalAdapter`, with SAMWISE's inside.

    Args:
        patch_size: side of the temporal patches; None leaves temporal attention out (as in the
            network that was trained on single pictures).
    """

    def __init__(
        self, visual_dim: int, text_dim: int, dim: int, num_heads: int, patch_size: int | None
    ) -> None:
        super().__init__()
        self.visual_down = nn.Sequential(
            nn.Conv2d(visual_dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU()
        )
        self.visual_up = nn.Sequential(
            nn.ConvTranspose2d(dim, visual_dim, 1, bias=False),
            nn.BatchNorm2d(visual_dim),
            nn.ReLU(),
        )
        self.text_down = nn.Linear(text_dim, dim, bias=False)
        self.text_up = nn.Linear(dim, text_dim, bias=False)
        self.visual_attends_text = Gate(dim, num_heads)
        self.text_attends_visual = Gate(dim, num_heads)
        self.temporal = None
        if patch_size is not None:
            self.temporal = HierarchicalSelectiveAttention(dim, num_heads, patch_size)

    def train(self, mode: bool = True) -> SamwiseAdapter:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.training = False
        return self

    def forward(
        self, visual: Tensor, text: Tensor, text_mask: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Shapes as in :meth:`CrossModalAdapter.forward`; ``times`` are not looked at: a frame's
        place in its window is."""
        batch, count, height, _, _ = visual.shape
        x = self.visual_down(rearrange(visual, "b t h w c -> (b t) c h w"))
        x = rearrange(x, "(b t) d h w -> b t h w d", b=batch)
        words = self.text_down(text)  # (B, L, dim)
        mean = rearrange(x.mean(dim=1), "b h w d -> b (h w) d")
        if self.temporal is not None:
            x = x + self.temporal(x)
        tokens = rearrange(x, "b t h w d -> b (t h w) d")
        tokens = self.visual_attends_text(tokens, words, text_mask)
        x = self.visual_up(rearrange(tokens, "b (t h w) d -> (b t) d h w", t=count, h=height))
        x = rearrange(x, "(b t) c h w -> b t h w c", b=batch)
        return visual + x, text + self.text_up(self.text_attends_visual(words, mean))


class SamwisePrompt(nn.Module):
    """rho_txt from [CLS] alone, by three linear layers."""

    def __init__(self, text_dim: int, prompt_dim: int) -> None:
        super().__init__()
        sizes = (text_dim, prompt_dim, prompt_dim, prompt_dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, text: Tensor, verb_mask: Tensor) -> Tensor:
        """(B, L, D) adapted text -> (B, 1, C); verbs are not looked at."""
        x = text[:, :1]
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
