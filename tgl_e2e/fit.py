"""How frames of any shape come onto the network's square, and masks back from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Fit:
    """
    side: S; fill: None: frames are stretched to S x S; a colour (3,) uint8: the longer side becomes
    S and the rest is filled, right and below.
    """

    side: int
    fill: tuple[int, ...] | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Fit:
        """Of a :class:`~tgl_e2e.model.tgl.TGL`."""
        return cls(model.vision.image_size, model.vision.fill)

    def inside(self, size: tuple[int, int]) -> tuple[int, int]:
        """The part of the square that a frame of ``size`` (H, W) covers."""
        if self.fill is None:
            return self.side, self.side
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def shrink(self, rgb: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (3, S, S) uint8"""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)
        size = self.inside(rgb.shape[:2])
        if image.shape[-2:] != size:  # in bytes, as Pillow does it: a tenth of the time
            image = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        return self.place(image)

    def place(self, image: Tensor) -> Tensor:
        """(..., 3 or 4, h, w) uint8, which cover :meth:`inside` -> (..., 3 or 4, S, S); a fourth
        band is a mask, which ends with the frame."""
        *many, bands, height, width = image.shape
        if (height, width) == (self.side, self.side):
            return image
        colour = torch.tensor((*self.fill, 0)[:bands], dtype=torch.uint8)
        square = colour[:, None, None].repeat(*many, 1, self.side, self.side)
        square[..., :height, :width] = image
        return square

    def to_size(self, logits: Tensor, size: tuple[int, int]) -> np.ndarray:
        """Mask logits (n, h, w) -> masks (n, H, W) bool: resized as logits, cut at 0."""
        height, width = self.inside(size)
        masks = []
        for one in logits[:, None, None].float():  # a block of full-size logits would be large
            if (height, width) != (self.side, self.side):
                one = _resized(one, (self.side, self.side))[..., :height, :width]
            masks.append((_resized(one, size)[0, 0] > 0).cpu().numpy())
        return np.stack(masks)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
