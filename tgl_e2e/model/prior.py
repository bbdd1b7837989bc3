"""Where what the expression names can be seen, as an input of F_Adp.

ConSE (Norouzi et al., 2014): the trunk's own classifier, applied at every cell of its last map,
gives p(class | cell); the mean of the classes' name embeddings under it puts the cell into the
space of the text encoder, where it can be compared with the expression. ImageNet has no person and
no handbag, so a small module may learn from outlined instances what is to be added to that (the
stage ``nouns`` trains it alone, on all classes of a photograph at once).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from timm.data import ImageNetInfo
from torch import Tensor, nn

from tgl_e2e.model.features import Tensors
from tgl_e2e.model.text import TextEncoder, TextTokens
from tgl_e2e.model.trunk import TimmTrunk


@dataclass
class Cells(Tensors):
    """Cells of N frames in the space of the text encoder, whatever the expression.

    last: (N, h, w, D) at stride 32, by the trunk's classifier; learned: (N, 2h, 2w, D) at stride
    16, with what was learned added; None where nothing is.
    """

    last: Tensor
    learned: Tensor | None


@dataclass
class Steering:
    """What the prior adds to N frames under their expressions.

    last: (N, h, w, C) to the trunk's last stage; top: (N, C', 2h, 2w) to the decoder's features,
    and similarity: (N, 2h, 2w) logits of "what the expression names is here", both None where
    nothing is learned.
    """

    last: Tensor
    top: Tensor | None = None
    similarity: Tensor | None = None


class LearnedCells(nn.Module):
    """What is to be added to the cells of the classifier, from the trunk's last two stages.

    Args:
        channels: C of the stages at strides 16 and 32.
        dim: width of the hidden layer.
        text_dim: D of the text encoder.
        top_dim: C' of the decoder's features.
    """

    def __init__(self, channels: tuple[int, int], dim: int, text_dim: int, top_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in channels)
        self.down = nn.ModuleList(nn.Linear(c, dim) for c in channels)
        self.around = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)
        self.drop = nn.Dropout(0.1)
        self.up = nn.Linear(dim, text_dim)
        self.expression = nn.Linear(text_dim, text_dim)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-4.0))  # most cells show something else
        self.top = nn.Linear(text_dim + 1, top_dim)
        self.last = nn.Linear(text_dim + 1, channels[1])
        # An untrained network is the one without: nothing learned, nothing added.
        for layer in (self.expression, self.top, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, third: Tensor, last: Tensor, cells: Tensor) -> Tensor:
        """
        Args:
            third: (N, 2h, 2w, C) and last: (N, h, w, C), stages of the trunk without adapters.
            cells: (N, h, w, D) of the classifier.

        Returns:
            (N, 2h, 2w, D)
        """
        x = self.down[0](self.norms[0](third)) + _finer(self.down[1](self.norms[1](last)))
        x = rearrange(F.gelu(x), "n h w c -> n c h w")
        x = rearrange(x + self.around(x), "n c h w -> n h w c")
        return self.up(self.drop(x)) + _finer(cells)

    def similarity(self, cells: Tensor, expressions: Tensor) -> Tensor:
        """Logits of each cell under each of its frame's expressions.

        Shapes:
            cells (N, h, w, D), expressions (N or 1, K, D) unit vectors -> (N, K, h, w) float32
        """
        e = F.normalize(expressions + self.expression(expressions), dim=-1).float()
        dot = torch.einsum("nhwd,nkd->nkhw", cells.float(), e.expand(len(cells), -1, -1))
        return dot * self.scale + self.bias


def _finer(x: Tensor) -> Tensor:
    """(N, h, w, C) -> (N, 2h, 2w, C)"""
    x = F.interpolate(rearrange(x, "n h w c -> n c h w"), scale_factor=2, mode="bilinear")
    return rearrange(x, "n c h w -> n h w c")


class SemanticPrior(nn.Module):
    """Adds the semantics of cells, and how near they are to the expression, to F_Adp.

    Args:
        trunk: with its classifier.
        text_dim: D of the text encoder.
        dim: width of :class:`LearnedCells`; 0: ImageNet's classes alone.
        top_dim: C' of the decoder's features.
    """

    def __init__(self, trunk: TimmTrunk, text_dim: int, dim: int = 0, top_dim: int = 0) -> None:
        super().__init__()
        classes, channels = trunk.net.num_classes, trunk.channel_list[0]
        stages = (trunk.channel_list[1], channels)
        self.learned = LearnedCells(stages, dim, text_dim, top_dim) if dim else None
        # Names of classes in the text encoder's space, less their mean: what sets them apart.
        self.register_buffer("class_embeddings", torch.zeros(classes, text_dim))
        self.register_buffer("mean_embedding", torch.zeros(text_dim))
        self.project = nn.Linear(text_dim + 1, channels)
        nn.init.zeros_(self.project.weight)  # like W_up: an untrained prior changes nothing
        nn.init.zeros_(self.project.bias)

    @torch.no_grad()
    def name_classes(self, text: TextEncoder, batch: int = 100) -> None:
        """Fills the class embeddings from timm's names of the ImageNet classes."""
        info = ImageNetInfo()
        names = [info.index_to_description(i) for i in range(len(self.class_embeddings))]
        parts = [
            F.normalize(text.sentence_embedding(text.tokenize(names[i : i + batch])), dim=-1)
            for i in range(0, len(names), batch)
        ]
        embeddings = torch.cat(parts)
        self.mean_embedding.copy_(embeddings.mean(dim=0))
        self.class_embeddings.copy_(embeddings - self.mean_embedding)

    def cells(self, trunk: TimmTrunk, third: Tensor, last: Tensor) -> Cells:
        """Cells in the space of the text encoder, longer the surer the classifier is: at unit
        length, cells that show nothing known would be as near to an expression as others.

        Args:
            third: (N, 2h, 2w, C) and last: (N, h, w, C'), the stages at strides 16 and 32 of the
                trunk, without adapters.
        """
        with torch.no_grad():
            probabilities = trunk.classify(last).float().softmax(dim=-1)
            known = probabilities @ self.class_embeddings
        return Cells(known, None if self.learned is None else self.learned(third, last, known))

    @torch.no_grad()
    def expression(self, text: TextEncoder, tokens: TextTokens) -> Tensor:
        """(B, D) unit vectors of the expressions, in the space of the cells."""
        embedding = F.normalize(text.sentence_embedding(tokens), dim=-1)
        return F.normalize(embedding - self.mean_embedding, dim=-1)

    def forward(self, cells: Cells, expressions: Tensor) -> Steering:
        """
        Args:
            cells: of N frames.
            expressions: (N, D) of :meth:`expression`, each frame's.
        """
        known = cells.last
        similarity = torch.einsum("nhwd,nd->nhw", known, expressions)[..., None]
        # Coordinates of vectors of about unit length, and products of such: brought to about one.
        scaled = [known * known.shape[-1] ** 0.5, similarity * 4]
        last = self.project(torch.cat(scaled, dim=-1))
        if self.learned is None:
            return Steering(last)
        logits = self.learned.similarity(cells.learned, expressions[:, None])[:, 0]
        shown = [cells.learned * known.shape[-1] ** 0.5, logits[..., None].sigmoid() * 4]
        shown = torch.cat(shown, dim=-1)
        coarse = F.avg_pool2d(rearrange(shown, "n h w c -> n c h w"), 2)
        last = last + self.learned.last(rearrange(coarse, "n c h w -> n h w c"))
        return Steering(last, rearrange(self.learned.top(shown), "n h w c -> n c h w"), logits)
