"""How the content of each cell moves between the frames of a window.

What an expression says of motion depends on it, and attention between tokens of a frozen trunk
would have to learn from clips alone to find the same thing again. Matching finds it unlearned: the
cells of the trunk's second stage, which sentences do not change, are compared with those around
them in the next frame, and the softmax of the similarities gives the mean displacement (GMFlow, Xu
et al., CVPR 2022, Eq. 1 and 2, here within a radius).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

SHARPNESS = 40.0  # of the softmax over cosine similarities
UNIT = 1 / 16  # of a displacement: this share of the picture's side
NOWHERE = -2.0  # similarity to what lies outside of the picture
CHANNELS = 10  # of what a cell is told


@torch.no_grad()
def displacements(first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """How far the content of each cell moves, from ``first`` to ``second`` and back.

    Args:
        first, second: (N, C, H, W) maps of neighbouring frames.
        radius: furthest displacement looked for, in cells.

    Returns:
        Of the cells of ``first``, and of those of ``second``: (N, 3, H, W), the displacement to
        the right and down, in cells, and the similarity of what is there (-1 to 1).
    """
    first, second = F.normalize(first), F.normalize(second)
    count, _, height, width = first.shape
    steps = [
        (right, down) for down in range(-radius, radius + 1) for right in range(-radius, radius + 1)
    ]
    ahead = first.new_full((count, len(steps), height, width), NOWHERE)
    behind = ahead.clone()
    for k, (right, down) in enumerate(steps):
        (rows, rows_then), (columns, columns_then) = _overlap(height, down), _overlap(width, right)
        alike = (first[..., rows, columns] * second[..., rows_then, columns_then]).sum(dim=1)
        ahead[:, k, rows, columns] = alike
        behind[:, k, rows_then, columns_then] = alike
    steps = first.new_tensor(steps)
    return _mean_step(ahead, steps), _mean_step(behind, -steps)


def _overlap(size: int, step: int) -> tuple[slice, slice]:
    """The part of a line that is on it still after ``step``, and where it is then."""
    return slice(max(0, -step), size - max(0, step)), slice(max(0, step), size - max(0, -step))


def _mean_step(alike: Tensor, steps: Tensor) -> Tensor:
    """(N, K, H, W) similarities after each of (K, 2) steps -> (N, 3, H, W)"""
    chance = (alike * SHARPNESS).softmax(dim=1)
    mean = torch.einsum("nkhw,kd->ndhw", chance, steps)
    return torch.cat([mean, (chance * alike).sum(dim=1, keepdim=True)], dim=1)


@torch.no_grad()
def measure(second: Tensor, frames: int, reach: float) -> Tensor:
    """How the cells of windows move: displacements (right, down) until the next frame and since the
    last one, in UNIT; both again without what most of the picture does, the camera's share; and how
    alike what was found is. At either end of a window the other neighbour stands for the missing
    one; a frame by itself does not move.

    Args:
        second: (N * T, H, W, C) the trunk's second stage.
        frames: T of a window.
        reach: furthest displacement between two frames, as share of the picture's side.

    Returns:
        (N * T, 10, H, W)
    """
    maps = rearrange(second.detach().float(), "(n t) h w c -> n t c h w", t=frames)
    count, _, _, height, width = maps.shape
    if frames == 1:
        return maps.new_zeros(count, CHANNELS, height, width)
    maps = maps - maps.mean(dim=(1, 3, 4), keepdim=True)
    radius = max(1, round(reach * width))
    with torch.autocast(maps.device.type, enabled=False):
        pairs = [displacements(x[:-1], x[1:], radius) for x in maps]  # a window stays in cache
    ahead, behind = (torch.stack(x) for x in zip(*pairs, strict=True))  # (N, T - 1, 3, H, W)
    turned = maps.new_tensor([-1.0, -1.0, 1.0]).view(3, 1, 1)
    ahead, behind = (
        torch.cat([ahead, behind[:, -1:] * turned], dim=1),
        torch.cat([ahead[:, :1] * turned, behind], dim=1),
    )
    moved = torch.cat([ahead[:, :, :2], behind[:, :, :2]], dim=2) / (UNIT * width)
    camera = moved.flatten(3).median(dim=3).values[..., None, None]  # (N, T, 4, 1, 1)
    alike = (ahead[:, :, 2:], behind[:, :, 2:])
    return torch.cat([moved, moved - camera, *alike], dim=2).flatten(0, 1)
