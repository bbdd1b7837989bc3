"""What an ImageNet classifier knows of the expression's nouns, as an input of F_Adp.

ConSE (Norouzi et al., 2014): the trunk's own classifier, applied at every cell of its last map,
gives p(class | cell); the mean of the classes' name embeddings under it puts the cell into the
space of the text encoder, where it can be compared with the expression. Nothing of it is trained
but the projection into the trunk's channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.data import ImageNetInfo
from torch import Tensor, nn

from tgl_e2e.model.text import TextEncoder, TextTokens
from tgl_e2e.model.trunk import TimmTrunk


class SemanticPrior(nn.Module):
    """Adds the semantics of cells, and how near they are to the expression, to the last stage.

    Args:
        trunk: with its classifier.
        text_dim: D of the text encoder.
    """

    def __init__(self, trunk: TimmTrunk, text_dim: int) -> None:
        super().__init__()
        classes, channels = trunk.net.num_classes, trunk.channel_list[0]
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

    @torch.no_grad()
    def cells(self, trunk: TimmTrunk, last: Tensor) -> Tensor:
        """Cells in the space of the text encoder, longer the surer the classifier is: at unit
        length, cells that show nothing known would be as near to an expression as others.

        Shapes:
            last (N, h, w, C), the trunk's last map without adapters -> (N, h, w, D)
        """
        probabilities = trunk.classify(last).float().softmax(dim=-1)
        return probabilities @ self.class_embeddings

    @torch.no_grad()
    def expression(self, text: TextEncoder, tokens: TextTokens) -> Tensor:
        """(B, D) unit vectors of the expressions, in the space of the cells."""
        embedding = F.normalize(text.sentence_embedding(tokens), dim=-1)
        return F.normalize(embedding - self.mean_embedding, dim=-1)

    def forward(self, cells: Tensor, expressions: Tensor) -> Tensor:
        """
        Args:
            cells: (N, h, w, D) of :meth:`cells`.
            expressions: (N, D) of :meth:`expression`, each frame's.

        Returns:
            (N, h, w, C), to be added to the last stage before its adapter.
        """
        similarity = torch.einsum("nhwd,nd->nhw", cells, expressions)[..., None]
        # Coordinates of vectors of about unit length, and products of such: brought to about one.
        scaled = [cells * cells.shape[-1] ** 0.5, similarity * 4]
        return self.project(torch.cat(scaled, dim=-1))
