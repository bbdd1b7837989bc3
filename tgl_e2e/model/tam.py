"""Temporal Alignment Module (paper A.2.2, Fig. 5): one relevance score per frame."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from timm.layers import Mlp
from torch import Tensor, nn

from tgl_e2e.model.attention import Attention, over_time, place_embedding, time_embedding


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
    ) -> None:
        super().__init__()
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

    def forward(self, visual: Tensor, text: Tensor, text_mask: Tensor, times: Tensor) -> Tensor:
        """
        Args:
            visual: (B, T, H, W, C) F_Adp of the last adapter.
            text: (B, L, D) E_Adp of the last adapter.
            text_mask: (B, L) bool, False at padding.
            times: (B, T) in blocks.

        Returns:
            s (B, T) relevance logits, {s_t} = Linear(.) / tau.
        """
        x = self.visual_proj(self.visual_norm(self.temporal_encoder(visual)))  # (B, T, H, W, dim)
        words = self.text_proj(self.text_norm(text))  # (B, L, dim)
        queries = self._pool(x, words)  # (B, T, dim)
        when = time_embedding(times, queries.shape[-1]).to(queries.dtype)
        for block in self.blocks:
            queries = block(queries, when, words, text_mask)
        score = self.head(self.head_norm(queries)).squeeze(-1)  # (B, T)
        return score.float() / self.log_temperature.exp()

    def _pool(self, x: Tensor, words: Tensor) -> Tensor:
        if self.pool is None:
            return x.mean(dim=(2, 3))
        batch, frames = x.shape[:2]
        if self.places:
            x = x + place_embedding(*x.shape[2:], x.device).to(x.dtype)
        positions = rearrange(x, "b t h w d -> (b t) (h w) d")
        sentence = repeat(words[:, 0], "b d -> (b t) 1 d", t=frames)  # [CLS]
        return rearrange(self.pool(sentence, positions), "(b t) 1 d -> b t d", b=batch)
