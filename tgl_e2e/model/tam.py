"""Temporal Alignment Module (paper A.2.2, Fig. 5): one relevance score per frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from timm.layers import Mlp
from torch import Tensor, nn

from tgl_e2e.model.attention import Attention, over_time, place_embedding, time_embedding
from tgl_e2e.model.displacement import CHANNELS, measure
from tgl_e2e.model.features import Evidence


class TemporalEncoder(nn.Module):
    """Depth-wise convolution over time at each position, in the manner of AdaTAD's adapter.

    The up-projection starts at zero, so training begins from the unchanged features.
    """

    def __init__(self, visual_dim: int, dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(visual_dim, dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=dim)
        self.pointwise = nn.Conv1d(dim, dim, kernel_size=1)
        self.activation = nn.GELU()
        self.up = nn.Linear(dim, visual_dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, visual: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, H, W, C)"""
        x = self.down(visual)  # (B, T, H, W, dim)
        change = over_time(lambda s: self.activation(self.pointwise(self.depthwise(s))), x)
        return visual + self.up(x + change)


class AlignmentBlock(nn.Module):
    """Transformer block: frame queries attend to each other, then to the text."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, num_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, num_heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden_features=2 * dim)

    def forward(self, queries: Tensor, when: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """queries and when (B, T, D), text (B, L, D), text_mask (B, L) -> (B, T, D)"""
        x = self.self_norm(queries) + when
        queries = queries + self.self_attention(x, x)
        queries = queries + self.cross_attention(self.cross_norm(queries) + when, text, text_mask)
        return queries + self.mlp(self.mlp_norm(queries))


SEEN = 0.5  # share of training clips in which more than what moves is seen


class Moves(nn.Module):
    """Tells frame queries how what they attend to moves.

    It starts at zero: nothing is told.

    Args:
        reach: of displacements between two frames, as share of the picture's side.
    """

    def __init__(self, dim: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.told = nn.Linear(2 * CHANNELS, dim)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    def forward(self, attended: Tensor, measured: Tensor) -> Tensor:
        """Mean and deviation of the displacements of what is attended to.

        Args:
            attended: (B, T, H, W) shares, which sum to 1 in each frame.
            measured: as in :class:`Evidence`.

        Returns:
            (B, T, D), to be added to the frame queries.
        """
        finer = measured.shape[-1] // attended.shape[-1]
        share = F.interpolate(attended.float(), scale_factor=finer) / finer**2  # nearest
        share = share.flatten(2)[:, :, None]  # (B, T, 1, 4H * 4W)
        cells = measured.float().flatten(3)
        mean = (cells * share).sum(dim=-1)
        deviation = ((cells - mean[..., None]).square() * share).sum(dim=-1)
        return self.told(torch.cat([mean, deviation.clamp(min=1e-4).sqrt()], dim=-1))


class TemporalAlignmentModule(nn.Module):
    """Scores each frame by how well it shows what the sentence says.

    Args:
        pooling: ``mean`` over positions; ``text``: the sentence looks for its object in each frame
            (attention over positions), which keeps small objects from being averaged away; or
            ``place``: that, and what is found says where it is, so that the frame queries show the
            object's way through the picture (a convolutional trunk does not know places).
        reach: > 0: frame queries are told how what they attend to moves, see :class:`Moves`.
    """

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        dim: int,
        num_heads: int,
        num_layers: int,
        pooling: str,
        reach: float = 0.0,
    ) -> None:
        super().__init__()
        self.moves = Moves(dim, reach) if reach else None
        self.temporal_encoder = TemporalEncoder(visual_dim, dim)
        self.visual_norm = nn.LayerNorm(visual_dim)
        self.visual_proj = nn.Linear(visual_dim, dim)
        self.text_norm = nn.LayerNorm(text_dim)
        self.text_proj = nn.Linear(text_dim, dim)
        self.pool = None if pooling == "mean" else Attention(dim, num_heads)
        self.places = pooling == "place"
        self.blocks = nn.ModuleList(AlignmentBlock(dim, num_heads) for _ in range(num_layers))
        self.head_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 1)
        self.log_temperature = nn.Parameter(torch.zeros(1))  # tau = exp(.) stays positive

    def evidence(
        self, visual: Tensor, text: Tensor, text_mask: Tensor, times: Tensor, second: Tensor
    ) -> Evidence:
        """What of B clips of T frames is needed.

        Args:
            visual, text, text_mask, times: as in :class:`Evidence`.
            second: (B * T or T, 4H, 4W, C') the trunk's second stage.
        """
        if self.moves is None:
            return Evidence(visual, text, text_mask, times)
        frames = times.shape[1]
        measured = measure(second, frames, self.moves.reach)
        measured = rearrange(measured, "(b t) d h w -> b t d h w", t=frames)
        measured = measured.expand(len(visual), -1, -1, -1, -1)
        return Evidence(visual, text, text_mask, times, measured)

    def forward(self, evidence: Evidence) -> tuple[Tensor, Tensor | None]:
        """
        Args:
            evidence: of :meth:`evidence`.

        Returns:
            s (B, T) relevance logits, {s_t} = Linear(.) / tau; and what the frame queries attend
            to: (B, T, H, W) shares, which sum to 1 in each frame, None where it is not known.
        """
        e = evidence
        x = self.visual_proj(self.visual_norm(self.temporal_encoder(e.visual)))  # (B, T, H, W, dim)
        words = self.text_proj(self.text_norm(e.text))  # (B, L, dim)
        queries, attended = self._pool(x, words)  # (B, T, dim)
        if self.moves is not None:
            if self.training:  # what frames look like is soon known by heart, what moves is not
                queries = queries * (torch.rand(len(queries), 1, 1, device=x.device) < SEEN)
            queries = queries + self.moves(attended, e.measured).to(queries.dtype)
        when = time_embedding(e.times, queries.shape[-1]).to(queries.dtype)
        for block in self.blocks:
            queries = block(queries, when, words, e.text_mask)
        score = self.head(self.head_norm(queries)).squeeze(-1)  # (B, T)
        return score.float() / self.log_temperature.exp(), attended

    def _pool(self, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.pool is None:
            return x.mean(dim=(2, 3)), None
        batch, frames, height, _, _ = x.shape
        if self.places:
            x = x + place_embedding(*x.shape[2:], x.device).to(x.dtype)
        positions = rearrange(x, "b t h w d -> (b t) (h w) d")
        sentence = repeat(words[:, 0], "b d -> (b t) 1 d", t=frames)  # [CLS]
        if self.training or self.moves is not None:
            found, attended = self.pool.with_weights(sentence, positions)
            attended = rearrange(attended, "(b t) 1 (h w) -> b t h w", b=batch, h=height)
        else:
            found, attended = self.pool(sentence, positions), None
        return rearrange(found, "(b t) 1 d -> b t d", b=batch), attended
