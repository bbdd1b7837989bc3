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


class Looking(nn.Module):
    """Where what the sentence means is, cell by cell, and how what is there moves.

    The object's own displacements say what it does; a mean over more than the object does not. So
    this map learns from masks, as the learned prior does, which it begins from where there is one.

    Args:
        top_dim: C of the decoder's features; dim: D of the frame queries.
        reach: of displacements between two frames, as share of the picture's side.
    """

    def __init__(self, top_dim: int, text_dim: int, dim: int, reach: float) -> None:
        super().__init__()
        self.reach = reach
        self.key_norm = nn.LayerNorm(top_dim)
        self.key = nn.Linear(top_dim, dim)
        self.query_norm = nn.LayerNorm(text_dim)
        self.query = nn.Linear(text_dim, dim)
        self.bias = nn.Parameter(torch.zeros(1))
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.told = nn.Linear(2 * CHANNELS + 1, dim)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.query.bias)

    def forward(self, top: Tensor, text: Tensor, similarity: Tensor | None) -> Tensor:
        """
        Args:
            top, text, similarity: as in :class:`Evidence`.

        Returns:
            (B, T, h, w) logits
        """
        key = self.key(self.key_norm(rearrange(top, "b t c h w -> b t h w c")))
        query = self.query(self.query_norm(text[:, 0]))  # [CLS]
        logits = torch.einsum("bthwd,bd->bthw", key, query).float() * query.shape[-1] ** -0.5
        return logits + self.bias + (0 if similarity is None else similarity.detach().float())

    def moves(self, looking: Tensor, measured: Tensor) -> Tensor:
        """How what is looked at moves: mean and deviation of its cells' displacements; and how
        surely it is there.

        Args:
            looking: (B, T, h, w) logits.
            measured: as in :class:`Evidence`.

        Returns:
            (B, T, D), to be added to the frame queries.
        """
        size = looking.shape[-2:]
        share = (self.sharpness * looking).flatten(2).softmax(dim=-1)
        surely = (share * looking.flatten(2).sigmoid()).sum(dim=-1, keepdim=True)
        share = F.interpolate(share.unflatten(2, size), size=measured.shape[-2:]) / 4  # nearest
        cells = measured.float().flatten(3)
        share = share.flatten(2)[:, :, None]  # (B, T, 1, 2h * 2w)
        mean = (cells * share).sum(dim=-1)
        deviation = ((cells - mean[..., None]).square() * share).sum(dim=-1)
        deviation = deviation.clamp(min=1e-4).sqrt()
        return self.told(torch.cat([mean, deviation, surely], dim=-1))


class TemporalAlignmentModule(nn.Module):
    """Scores each frame by how well it shows what the sentence says.

    Args:
        pooling: ``mean`` over positions; ``text``: the sentence looks for its object in each frame
            (attention over positions), which keeps small objects from being averaged away; or
            ``place``: that, and what is found says where it is, so that the frame queries show the
            object's way through the picture (a convolutional trunk does not know places).
    """

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        dim: int,
        num_heads: int,
        num_layers: int,
        pooling: str,
        looking: Looking | None = None,
    ) -> None:
        super().__init__()
        self.looking = looking
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

    def forward(
        self,
        visual: Tensor,
        text: Tensor,
        text_mask: Tensor,
        times: Tensor,
        moves: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            visual: (B, T, H, W, C) F_Adp of the last adapter.
            text: (B, L, D) E_Adp of the last adapter.
            text_mask: (B, L) bool, False at padding.
            times: (B, T) in blocks.
            moves: (B, T, D) of :meth:`Looking.moves`, or None.

        Returns:
            s (B, T) relevance logits, {s_t} = Linear(.) / tau.
        """
        x = self.visual_proj(self.visual_norm(self.temporal_encoder(visual)))  # (B, T, H, W, dim)
        words = self.text_proj(self.text_norm(text))  # (B, L, dim)
        queries = self._pool(x, words)  # (B, T, dim)
        if moves is not None:
            if self.training:  # what frames look like is soon known by heart, what moves is not
                queries = queries * (torch.rand(len(queries), 1, 1, device=x.device) < SEEN)
            queries = queries + moves
        when = time_embedding(times, queries.shape[-1]).to(queries.dtype)
        for block in self.blocks:
            queries = block(queries, when, words, text_mask)
        score = self.head(self.head_norm(queries)).squeeze(-1)  # (B, T)
        return score.float() / self.log_temperature.exp()

    def evidence(
        self,
        visual: Tensor,
        text: Tensor,
        text_mask: Tensor,
        times: Tensor,
        top: Tensor,
        similarity: Tensor | None,
        second: Tensor,
    ) -> Evidence:
        """What of B clips of T frames is needed.

        Args:
            top: (B * T, C', h, w); second: (B * T or T, 2h, 2w, C) the trunk's second stage.
        """
        if self.looking is None:
            return Evidence(visual, text, text_mask, times)
        frames = times.shape[1]
        top, measured = (
            rearrange(x, "(b t) d h w -> b t d h w", t=frames)
            for x in (top, measure(second, frames, self.looking.reach))
        )
        measured = measured.expand(len(top), -1, -1, -1, -1)
        return Evidence(visual, text, text_mask, times, top, similarity, measured)

    def align(self, evidence: Evidence) -> tuple[Tensor, Tensor | None]:
        """s (B, T), and where it looked: (B, T, h, w) logits, or None."""
        e, looking, moves = evidence, None, None
        if self.looking is not None:
            looking = self.looking(e.top, e.text, e.similarity)
            moves = self.looking.moves(looking, e.measured)
        return self(e.visual, e.text, e.text_mask, e.times, moves), looking

    def _pool(self, x: Tensor, words: Tensor) -> Tensor:
        if self.pool is None:
            return x.mean(dim=(2, 3))
        batch, frames = x.shape[:2]
        if self.places:
            x = x + place_embedding(*x.shape[2:], x.device).to(x.dtype)
        positions = rearrange(x, "b t h w d -> (b t) (h w) d")
        sentence = repeat(words[:, 0], "b d -> (b t) 1 d", t=frames)  # [CLS]
        return rearrange(self.pool(sentence, positions), "(b t) 1 d -> b t d", b=batch)
