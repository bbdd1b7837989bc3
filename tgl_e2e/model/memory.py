"""The memory bank of M+ frames: it stores and selects, and never calls the network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tgl_e2e.model.features import Tensors


@dataclass
class Memories(Tensors):
    """Entries of N banks of equal size E, in time order.

    features: (N, E, HW, Cm) encoded memories; pointers: (N, E, C) object pointers;
    frames: (N, E) long, the frame numbers they were written at.
    """

    features: Tensor
    pointers: Tensor
    frames: Tensor

    def expand(self, count: int) -> Memories:
        """One bank (N = 1) seen by ``count`` frames, without a copy."""
        return self.map(lambda x: x.expand(count, *x.shape[1:]))

    def entries(self, index: slice) -> Memories:
        """The entries at ``index`` along E."""
        return self.map(lambda x: x[:, index])


def nearest(entry_frames: Tensor, query_frames: Tensor, count: int) -> Tensor:
    """The entries nearest in time to each query, nearest first; of two as near, the earlier one.

    Args:
        entry_frames: (N, E) frame numbers in ascending order.
        query_frames: (N,)
        count: how many at most.

    Returns:
        (N, min(count, E)) long indices into E
    """
    distance = (entry_frames - query_frames[:, None]).abs()
    return distance.argsort(dim=1, stable=True)[:, :count]


def gather_entries(values: Tensor, index: Tensor) -> Tensor:
    """values (N, E, ...) at index (N, K) -> (N, K, ...)"""
    rows = torch.arange(len(index), device=index.device)[:, None]
    return values[rows, index]


class MemoryBank:
    """The bank of one expression while a video is read block by block.

    Entries come in ascending frame order. A frame selects among entries by distance, so once all
    frames up to some point are done, only the newest entries can still be the nearest to a later
    one: :meth:`prune` keeps those, and the bank stays bounded however long the video is.

    Args:
        later: entries of frames that come after all that will be written (N = 1), which a first
            reading has left.
    """

    def __init__(self, later: Memories | None = None) -> None:
        self._entries: list[Memories] = []
        self._later = [] if later is None else [later]

    def __len__(self) -> int:
        return self.count()

    def count(self, newest: int | None = None) -> int:
        """How many entries :meth:`read` gives."""
        written = len(self._entries) if newest is None else min(newest, len(self._entries))
        return written + sum(later.frames.shape[1] for later in self._later)

    def write(self, entry: Memories) -> None:
        """entry: N = 1, E = 1, later than all before, or (in clips of short videos, whose frames
        come again) as late as the last."""
        assert entry.frames.shape == (1, 1)
        frame = entry.frames.item()
        assert not self._entries or frame >= self._entries[-1].frames.item()
        assert all(frame < later.frames[0, 0].item() for later in self._later)
        self._entries.append(entry)

    def read(self, newest: int | None = None) -> Memories:
        """All entries, or of the written ones only the newest; N = 1."""
        entries = self._entries if newest is None else self._entries[-newest:]
        return Memories.cat([*entries, *self._later], dim=1)

    def prune(self, keep: int) -> None:
        """Forgets all but the ``keep`` newest of the entries written.

        Safe once no frame before the newest entry waits: for any later frame t, entries that are
        all earlier than t are nearer the newer they are.
        """
        self._entries = self._entries[-keep:]
