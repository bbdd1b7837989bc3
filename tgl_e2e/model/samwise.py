"""Adapter, prompt and conditional memory encoding as SAMWISE has them (Cuttano et al., CVPR 2025),
so that its weights fit.

What is different from :mod:`tgl_e2e.model.adapter`: attention multiplies instead of adding, without
norms and MLP; BatchNorm and ReLU around the projections, so that F_Adp is never less than F_SAM;
the text looks at the mean frame of the window; and the prompt is [CLS] alone. BatchNorm keeps the
statistics that it was trained with: windows of a few frames have none worth the name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tgl_e2e.model.adapter import by_patch_rows
from tgl_e2e.model.attention import are_few, attend_heads, attend_to_few, join_patches, shared
from tgl_e2e.model.features import FrameFeatures, MaskPrediction
from tgl_e2e.model.prompt import verbs_of
from tgl_e2e.model.vision import Vision

TEMPERATURE = 1e4  # of the sine embedding of time
DECISION_WINDOW = 4  # frames, of conditional memory encoding
DECISION_WEIGHT = 10.0  # of the mask that memory takes instead


class Heads(nn.MultiheadAttention):
    """Its parameters, and a forward without its large table of weights."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(dim, num_heads, dropout, batch_first=True)

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor | None = None, then: nn.Linear | None = None
    ) -> Tensor:
        """(N, Lq, D) and (N, Lk, D) -> (N, Lq, D), one of both shared where it is of N = 1; mask:
        (N, Lk) bool, False at padding; then: a layer that follows, as one with the projection."""
        sizes = (self.embed_dim, 2 * self.embed_dim)
        weights, biases = self.in_proj_weight.split(sizes), self.in_proj_bias.split(sizes)
        key, value = F.linear(context, weights[1], biases[1]).chunk(2, dim=-1)
        dropout = self.dropout if self.training else 0.0
        query, out = (weights[0], biases[0]), (self.out_proj.weight, self.out_proj.bias)
        if then is not None:
            out = (then.weight @ out[0], F.linear(out[1], then.weight, then.bias))
        if not dropout and are_few(key, x, self.num_heads):
            return attend_to_few(x, key, value, query, out, self.num_heads, mask)
        projected, key, value = shared(F.linear(x, *query), key, value)
        attended = attend_heads(projected, key, value, self.num_heads, mask, dropout)
        return F.linear(attended, *out)


class Gate(nn.Module):
    """x * attention(x to context): (N, Lq, D), (N, Lk, D) -> (N, Lq, D)"""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = Heads(dim, num_heads)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: (N, Lk) bool, False at padding."""
        return x * self.attention(x, context, mask)


class HierarchicalSelectiveAttention(nn.Module):
    """Tokens of one P x P patch attend to each other over all frames of the window."""

    def __init__(self, dim: int, num_heads: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.position = nn.Parameter(torch.zeros(patch_size**2, dim))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = Heads(dim, num_heads, dropout=0.1)
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> (B, T, H, W, D), to be added to ``x``."""
        patch = self.patch_size
        tokens = rearrange(x, "b t (h p) (w q) d -> b h w t (p q) d", p=patch, q=patch)
        tokens = tokens + self.position + time_in_window(x.shape[1], x.shape[-1]).to(x)[:, None]
        tokens = self.norm(rearrange(tokens, "b h w t s d -> (b h w) (t s) d"))
        return join_patches(self.attention(tokens, tokens, then=self.linear), x.shape, patch)


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

    def forward(
        self, visual: Tensor, text: Tensor, text_mask: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Shapes as in :meth:`CrossModalAdapter.forward`; ``times`` are not looked at: a frame's
        place in its window is."""
        words = self.text_down(text)  # (B, L, dim)
        x = self._by_rows(lambda visual: _projected(self.visual_down, visual), visual)
        mean = rearrange(x.mean(dim=1), "b h w d -> b (h w) d")  # before temporal attention
        fused = self._by_rows(
            lambda visual, x: visual + self._up(x, words, text_mask), visual, x, sentences=len(text)
        )
        return fused, text + self.text_up(self.text_attends_visual(words, mean))

    def _up(self, x: Tensor, words: Tensor, text_mask: Tensor) -> Tensor:
        """What time and sentence add: (B, T, H, W, dim) -> (B, T, H, W, C)"""
        if self.temporal is not None:
            x = x + self.temporal(x)
        tokens = rearrange(x, "b t h w d -> b (t h w) d")
        tokens = self.visual_attends_text(tokens, words, text_mask)
        return _projected(self.visual_up, tokens.unflatten(1, x.shape[1:4]))

    def _by_rows(
        self, function: Callable[..., Tensor], *maps: Tensor, sentences: int = 1
    ) -> Tensor:
        wide = 3 * self.text_down.out_features
        return by_patch_rows(function, maps, self.temporal, wide, sentences)


def _projected(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Convolution of one cell, BatchNorm and ReLU of channels that come last, as one product:
    (..., C) -> (..., C')"""
    convolution, norm, _ = layers
    weight = convolution.weight[..., 0, 0]
    weight = weight.T if isinstance(convolution, nn.ConvTranspose2d) else weight
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - scale * norm.running_mean
    return F.linear(x, scale[:, None] * weight, bias).relu()


class SamwisePrompt(nn.Module):
    """rho_txt from [CLS], by three linear layers.

    Args:
        verbs: it is of [CLS ; verbs], as in Eq. 2. The first layer's columns for verbs begin at
            zero: until they have learned, the prompt is SAMWISE's.
    """

    def __init__(self, text_dim: int, prompt_dim: int, verbs: bool = False) -> None:
        super().__init__()
        sizes = (text_dim, prompt_dim, prompt_dim, prompt_dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.verbs = None
        if verbs:
            self.verbs = nn.Linear(text_dim, prompt_dim, bias=False)
            nn.init.zeros_(self.verbs.weight)

    def forward(self, text: Tensor, verb_mask: Tensor) -> Tensor:
        """As :meth:`TextPrompt.forward`: (B, L, D) adapted text -> (B, 1, C)"""
        first, second, last = self.layers
        x = first(text[:, 0])
        if self.verbs is not None:
            x = x + self.verbs(verbs_of(text, verb_mask))
        return last(second(x.relu()).relu()).unsqueeze(1)


class ConditionalMemory(nn.Module):
    """Conditional memory encoding (CME): memory may have gone after another object than the one
    that language finds.

    A frame is decoded once more without memory. A decision token looks at the pointer of the mask
    that was found with memory, and at the mask token behind the first layer of the decoder that had
    none; where its class is 1, memory takes the mask without memory, DECISION_WEIGHT times as
    certain, where that mask is. What comes out for the frame itself is the mask with memory.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.token = nn.Embedding(1, dim)
        self.block = nn.TransformerEncoderLayer(dim, 8, dim_feedforward=128, batch_first=True)
        self.head = nn.Linear(dim, 2)

    def forward(self, pointers: Tensor, tokens: Tensor) -> Tensor:
        """(N, C) with memory and (N, C) without -> (N,) bool, whether they mean two objects"""
        token = self.token.weight.expand_as(pointers).to(pointers.dtype)
        x = self.block(torch.stack([token, pointers, tokens.to(pointers.dtype)], dim=1))
        return self.head(x[:, 0]).argmax(dim=-1) == 1

    def reconsider(
        self,
        vision: Vision,
        features: FrameFeatures,
        prediction: MaskPrediction,
        prompts: Tensor,
        due: Tensor,
    ) -> tuple[MaskPrediction, Tensor]:
        """What memory is to take of N frames, with masks (N, S, S), and (N,) bool, in which of them
        that is another object.

        Args:
            prediction: with memory.
            due: (N,) bool, where it may be.
        """
        decoder, tokens = vision.sam.sam_mask_decoder, []
        hook = decoder.transformer.layers[0].register_forward_hook(
            lambda layer, given, queries_and_keys: tokens.append(queries_and_keys[0])
        )
        try:
            fused = vision.read_memory(features, torch.empty(0), None)
            alone = vision.decode(fused, features, prompts)
        finally:
            hook.remove()
        mask_token = 2 if decoder.pred_obj_scores else 1  # behind those of presence and IoU
        other = due & self(prediction.pointers, tokens[0][:, mask_token])
        size = (vision.image_size, vision.image_size)
        with_memory, without = (
            F.interpolate(one.gated()[:, None], size, mode="bilinear", align_corners=False)[:, 0]
            for one in (prediction, alone)
        )
        taken = other[:, None, None] & (without > 0)
        return MaskPrediction(
            torch.where(taken, DECISION_WEIGHT * without, with_memory),
            torch.where(taken.flatten(1).any(dim=1), alone.presence, prediction.presence),
            prediction.pointers,
        ), other


def may_reconsider(frame: int, last: int) -> bool:
    """Whether memory may take another object in this frame, after it did so in ``last`` (0: never
    yet)."""
    return frame > DECISION_WINDOW and frame - last >= DECISION_WINDOW - 1
