"""Cross-modal adapters (paper Eq. 1), with the temporal attention of SAMWISE inside."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange
from timm.layers import Mlp
from torch import Tensor, nn

from tgl_e2e.model import cpu
from tgl_e2e.model.attention import (
    Attention,
    join_patches,
    over_time,
    place_embedding,
    sine_grid,
    time_embedding,
)


class TemporalAttention(nn.Module):
    """Tokens of one P x P patch attend to each other over all frames of the clip.

    SAMWISE (Cuttano et al., 2025) calls this hierarchical selective attention. The position in the
    patch and the frame's time are added to the values too: motion is a change of position. The
    position embedding starts from a sine grid as large as the tokens are; one that starts near zero
    is lost beside them (in bfloat16 altogether), and direction of movement is not learned.
    """

    def __init__(self, dim: int, num_heads: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.position = nn.Parameter(sine_grid(patch_size, dim))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """
        Args:
            x: (B, T, H, W, D), H and W multiples of P.
            times: (B, T) in blocks, see :func:`time_embedding`.

        Returns:
            (B, T, H, W, D), to be added to ``x``.
        """
        patch = self.patch_size
        tokens = rearrange(self.norm(x), "b t (h p) (w q) d -> b h w t (p q) d", p=patch, q=patch)
        when = time_embedding(times, x.shape[-1]).to(tokens.dtype)  # (B, T, D)
        tokens = tokens + self.position + when[:, None, None, :, None, :]
        tokens = rearrange(tokens, "b h w t s d -> (b h w) (t s) d")
        return join_patches(self.attention(tokens, tokens), x.shape, patch)


def resize_patch(position: Tensor, patch_size: int) -> Tensor:
    """The position embedding of a patch, (P * P, D), for another P: a network goes on at another
    picture size with patches that cover the same share of the picture."""
    side = math.isqrt(position.shape[0])
    grid = rearrange(position, "(p q) d -> 1 d p q", p=side)
    grid = nn.functional.interpolate(grid, size=(patch_size, patch_size), mode="bilinear")
    return rearrange(grid, "1 d p q -> (p q) d").contiguous()


class TemporalDifference(nn.Module):
    """Depth-wise convolution over time at each position, starting as differences of neighbours.

    Attention has to find an object in another frame before it can compare places; what changes at a
    place is there to be read at once. A still clip, or a single frame, gives zero at the start.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            dim, dim, kernel_size=3, padding=1, padding_mode="replicate", groups=dim
        )
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.zero_()
            self.conv.weight[0::2, 0] = torch.tensor([-1.0, 1.0, 0.0])  # since the frame before
            self.conv.weight[1::2, 0] = torch.tensor([0.0, -1.0, 1.0])  # until the frame after

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, D) -> (B, T, H, W, D), to be added to ``x``."""
        return over_time(self.conv, x)


def by_patch_rows(
    function: Callable[..., Tensor],
    maps: tuple[Tensor, ...],
    temporal: nn.Module | None,
    wide: int,
    sentences: int = 1,
) -> Tensor:
    """``function(*maps)``, on a CPU in strips of the maps (B, T, H, W, ...): no token looks further
    than its temporal patch, but for the text's attention to all of them.

    Args:
        temporal: attention within patches of ``temporal.patch_size``; None: there is none.
        wide: channels of the largest tensor on the way.
        sentences: for which ``function`` gives a result, where they share one map.
    """
    batch, frames, _, width, _ = maps[0].shape
    patch = 1 if temporal is None else temporal.patch_size
    values = max(batch, sentences) * frames * width * wide
    return cpu.by_rows(function, *maps, dim=2, values=values, multiple=patch)


class CrossModalAdapter(nn.Module):
    """Fuses one trunk stage with one text layer, both ways.

    Both ``up`` projections start at zero: an untrained adapter changes nothing.

    Args:
        visual_dim: C of the trunk stage.
        text_dim: D of the text encoder.
        dim: width of the shared space.
        patch_size: side of the temporal patches; None leaves temporal attention out.
        difference: add :class:`TemporalDifference`.
        places: tell each token where in the picture it is. Hiera knows; a convolutional trunk does
            not, and "the left one" then has to wait for the mask decoder.
    """

    def __init__(
        self,
        visual_dim: int,
        text_dim: int,
        dim: int,
        num_heads: int,
        patch_size: int | None,
        difference: bool = False,
        places: bool = False,
    ) -> None:
        super().__init__()
        self.visual_down = nn.Linear(visual_dim, dim)
        self.text_down = nn.Linear(text_dim, dim)
        self.temporal = None
        if patch_size is not None:
            self.temporal = TemporalAttention(dim, num_heads, patch_size)
        self.difference = TemporalDifference(dim) if difference else None
        self.place = nn.Linear(dim, dim, bias=False) if places else None
        if self.place is not None:
            nn.init.zeros_(self.place.weight)
        self.visual_norm = nn.LayerNorm(dim)
        self.text_norm = nn.LayerNorm(dim)
        self.visual_attends_text = Attention(dim, num_heads)
        self.text_attends_visual = Attention(dim, num_heads)
        self.visual_mlp_norm = nn.LayerNorm(dim)
        self.visual_mlp = Mlp(dim, hidden_features=dim)
        self.visual_up = nn.Linear(dim, visual_dim)
        self.text_up = nn.Linear(dim, text_dim)
        for up in (self.visual_up, self.text_up):
            nn.init.zeros_(up.weight)
            nn.init.zeros_(up.bias)

    def forward(
        self, visual: Tensor, text: Tensor, text_mask: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            visual: (B, T, H, W, C) output of a trunk stage; or (1, T, H, W, C), which B sentences
                share, and with it all that the clip shows by itself.
            text: (B, L, D) output of a text layer.
            text_mask: (B, L) bool, False at padding.
            times: (B, T) in blocks.

        Returns:
            F_Adp (B, T, H, W, C) and E_Adp (B, L, D) of Eq. 1. Each frame attends to the text; the
            text attends to the tokens of the whole clip.
        """
        times = times[: len(visual)]  # sentences that share a clip see it at the same times
        e = self.text_down(text)  # (B, L, dim)
        e_normed = self.text_norm(e)
        # (B, T, H, W, dim): what the clip shows by itself
        x = self._by_rows(lambda visual: self._down(visual, times), visual)
        if self.place is not None:
            x = x + self.place(place_embedding(*x.shape[2:], x.device)).to(x.dtype)
        x_normed = self.visual_norm(x)
        fused = self._by_rows(
            lambda visual, x, normed: visual + self._up(x, normed, e_normed, text_mask),
            visual,
            x,
            x_normed,
            sentences=len(text),
        )
        e = e + self.text_attends_visual(e_normed, rearrange(x_normed, "b t h w d -> b (t h w) d"))
        return fused, text + self.text_up(e)

    def _down(self, visual: Tensor, times: Tensor) -> Tensor:
        """What the clip shows by itself: (B, T, H, W, C) -> (B, T, H, W, dim)"""
        x = self.visual_down(visual)
        change = 0 if self.difference is None else self.difference(x)
        if self.temporal is not None:
            x = x + self.temporal(x, times)
        return x + change

    def _up(self, x: Tensor, normed: Tensor, words: Tensor, text_mask: Tensor) -> Tensor:
        """What the sentence adds to it: (B, T, H, W, dim) -> (B, T, H, W, C)"""
        frames, height = x.shape[1:3]
        x, normed = (rearrange(y, "b t h w d -> b (t h w) d") for y in (x, normed))
        x = x + self.visual_attends_text(normed, words, text_mask)
        x = x + self.visual_mlp(self.visual_mlp_norm(x))
        x = self.visual_up(x)
        return rearrange(x, "b (t h w) c -> b t h w c", t=frames, h=height)

    def _by_rows(
        self, function: Callable[..., Tensor], *maps: Tensor, sentences: int = 1
    ) -> Tensor:
        wide = 2 * self.visual_down.out_features
        return by_patch_rows(function, maps, self.temporal, wide, sentences)
