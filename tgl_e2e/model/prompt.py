"""The sentence as one prompt token for the mask decoder (paper Eq. 2)."""

from __future__ import annotations

import torch
from timm.layers import Mlp
from torch import Tensor, nn


class TextPrompt(nn.Module):
    """rho_txt = MLP([E_C; E_M]): the [CLS] token and the mean over verb-related tokens."""

    def __init__(self, text_dim: int, prompt_dim: int) -> None:
        super().__init__()
        self.mlp = Mlp(2 * text_dim, hidden_features=prompt_dim, out_features=prompt_dim)
        # As large as SAM's own prompt embeddings; a token much smaller than its neighbours would be
        # averaged away in the decoder's first self-attention, and language would be learned late.
        self.norm = nn.LayerNorm(prompt_dim)

    def forward(self, text: Tensor, verb_mask: Tensor) -> Tensor:
        """
        Args:
            text: (B, L, D) adapted text E_Adp; position 0 is [CLS].
            verb_mask: (B, L) bool, True at verb-related tokens (at all words where the sentence
                has no verb); at least one True per row.

        Returns:
            (B, 1, C) one sparse prompt token per clip.
        """
        token = self.mlp(torch.cat([text[:, 0], verbs_of(text, verb_mask)], dim=-1))
        return self.norm(token).unsqueeze(1)


def verbs_of(text: Tensor, verb_mask: Tensor) -> Tensor:
    """E_M, the mean over verb-related tokens: (B, L, D) and (B, L) bool -> (B, D)"""
    weight = verb_mask.to(text.dtype).unsqueeze(-1)  # (B, L, 1)
    return (text * weight).sum(dim=1) / weight.sum(dim=1)
