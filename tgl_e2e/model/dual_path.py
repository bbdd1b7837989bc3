"""The dual path of MDP (Eq. 4 and 5) in batches: what training and inference share.

M+ frames take the language path in time order, because each sees the entries that earlier ones
wrote; memory attention knows no key mask, so frames go together whose banks hold equally many
entries. M- frames depend on the bank alone, not on one another, and go in batches once it is
complete. :mod:`tgl_e2e.model.reference` is the same frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.config import MemoryConfig
from tgl_e2e.model.features import FrameFeatures, MaskPrediction
from tgl_e2e.model.memory import Memories, MemoryBank
from tgl_e2e.model.vision import Vision

Chosen = TypeVar("Chosen", Tensor, np.ndarray)  # bool, a value per frame
Pair = tuple[int, int]  # clip (or expression) and frame


@dataclass(frozen=True)
class PathStep:
    """Frames that were segmented at once, one each of several clips.

    pairs: which; numbers: (N,) their places in time; features and prediction: of N frames.
    """

    pairs: list[Pair]
    numbers: Tensor
    features: FrameFeatures
    prediction: MaskPrediction


class DualPath:
    """Which path a frame takes, what it reads and whether it is remembered, ablations included.

    Args:
        segment: Eq. 4 and 5 for N frames of one path, see :meth:`tgl_e2e.model.tgl.TGL.segment`.
        memory: the ablations ``mfe``, ``bank`` and ``dual_path``, and how many entries are read.
    """

    def __init__(
        self,
        segment: Callable[[FrameFeatures, Tensor, Memories | None, Tensor | None], MaskPrediction],
        memory: MemoryConfig,
    ) -> None:
        self.segment = segment
        self.mfe = memory.mfe
        self.two_paths = memory.dual_path
        self.all_enter = memory.bank == "all"
        # Of entries that are all earlier than a frame only the newest can be the nearest.
        self.keep = max(memory.num_memories, memory.num_pointers)

    def language(self, relevant: Chosen) -> Chosen:
        """Frames that take the language path: M+."""
        return relevant | (not self.two_paths)

    def adapted(self, language: Chosen) -> Chosen:
        """Frames that read F_Adp; the others read F_SAM."""
        return language | (not self.mfe)

    def written(self, language: Chosen) -> Chosen:
        """Frames that enter the bank, in time order."""
        return language | self.all_enter

    def in_time_order(
        self,
        banks: Sequence[MemoryBank],
        frames: Mapping[int, Sequence[int]],
        language: Tensor | np.ndarray,
        take: Callable[[list[Pair]], tuple[FrameFeatures, Tensor, Tensor | None]],
    ) -> Iterator[PathStep]:
        """Segments frames that enter banks; the caller writes them before it takes the next step.

        Args:
            banks: of each clip.
            frames: clip -> its frames that enter the bank, ascending.
            language: (N, T) bool, those that take the language path.
            take: pairs -> features and numbers of these frames, and the clips' prompts.
        """
        queues = {n: [int(t) for t in row] for n, row in frames.items()}
        while any(queues.values()):
            groups: dict[tuple[int, bool], list[int]] = {}
            for n, queue in queues.items():
                if queue:
                    key = banks[n].count(self.keep), bool(language[n][queue[0]])
                    groups.setdefault(key, []).append(n)
            for (entries, spoken), group in groups.items():
                pairs = [(n, queues[n].pop(0)) for n in group]
                features, numbers, prompts = take(pairs)
                memories = None
                if entries:
                    memories = Memories.cat([banks[n].read(self.keep) for n in group])
                prediction = self.segment(features, numbers, memories, prompts if spoken else None)
                yield PathStep(pairs, numbers, features, prediction)


def segment_clips(
    path: DualPath,
    vision: Vision,
    features: FrameFeatures,
    prompts: Tensor,
    language: Tensor,
    positions: Tensor,
    forced: tuple[Tensor, Tensor | None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Both paths over B clips of T frames, in as few batched steps as the order in time allows.

    Args:
        features: of B * T frames, clip by clip.
        prompts: (B, 1, C)
        language: (B, T) bool
        positions: (B, T) long frame numbers.
        forced: the true masks (B, T, H, W) bool, and the clips (B,) bool whose memory is written
            from them; None: all.

    Returns:
        Mask logits (B, T, h, w) and presence (B, T).
    """
    batch, count = language.shape
    language, positions = language.cpu(), positions.cpu()  # chosen without waiting for a GPU
    written = path.written(language)
    totals = written.sum(dim=1)
    banks = [MemoryBank() for _ in range(batch)]
    target = None if forced is None else forced[0].flatten(0, 1)

    def places(pairs: Sequence[Pair]) -> Tensor:
        return torch.tensor([n * count + t for n, t in pairs])

    def take(pairs: list[Pair]) -> tuple[FrameFeatures, Tensor, Tensor]:
        where = places(pairs)
        return features[where], positions.flatten()[where], prompts[[n for n, _ in pairs]]

    done: list[Pair] = []
    predictions: list[MaskPrediction] = []
    longest_first = totals.argsort(descending=True, stable=True).tolist()
    frames = {n: written[n].nonzero().squeeze(1).tolist() for n in longest_first}
    for step in path.in_time_order(banks, frames, language, take):
        done += step.pairs
        predictions.append(step.prediction)
        if count == 1:
            continue  # image stage: nothing will be remembered
        clips = [n for n, _ in step.pairs]
        entries = vision.write_memory(
            step.features,
            step.prediction,
            step.numbers,
            None if forced is None else target[places(step.pairs)],
            None if forced is None or forced[1] is None else forced[1][clips],
        )
        for row, n in enumerate(clips):
            banks[n].write(entries[row : row + 1])
        finished = [n for n in clips if len(banks[n]) == totals[n]]
        rest = [(row, n, t) for row, n in enumerate(finished) for t in range(count)]
        rest = [(row, n, t) for row, n, t in rest if not written[n, t]]
        if rest:
            pairs = [(n, t) for _, n, t in rest]
            memories = Memories.cat([banks[n].read() for n in finished])
            propagated, numbers, _ = take(pairs)
            memories = memories[[row for row, _, _ in rest]]
            done += pairs
            predictions.append(path.segment(propagated, numbers, memories, None))
    order = places(done).argsort()
    masks = torch.cat([p.masks for p in predictions])[order]
    presence = torch.cat([p.presence for p in predictions])[order]
    return masks.unflatten(0, (batch, count)), presence.unflatten(0, (batch, count))
