"""What one or two passes over a video have found so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from tgl_e2e.fit import Fit
from tgl_e2e.inference.video_pass import BlockResult, EarlierResult, Job
from tgl_e2e.model.features import ABSENT_LOGIT
from tgl_e2e.moments import spans
from tgl_e2e.results import Segmentation, encode_mask


class Collected:
    """What has been found so far: scores, masks as run lengths, and logits where asked for."""

    def __init__(self, job: Job, fit: Fit, keep_logits: bool) -> None:
        self.job = job
        self.fit = fit
        self._blocks: list[BlockResult] = []  # without their logits
        self._rle: list[list[dict]] = [[] for _ in job.texts]
        self._logits: list[list[np.ndarray]] | None = None
        if keep_logits:
            self._logits = [[] for _ in job.texts]

    def add(self, block: BlockResult) -> None:
        self._blocks.append(replace(block, logits=None))
        if block.logits is None:
            return
        for n, rle in enumerate(self._rle):
            masks = self.fit.to_size(block.logits[n], self.job.source.size)
            rle.extend(encode_mask(mask) for mask in masks)
            if self._logits is not None:
                self._logits[n].extend(_half(block.logits[n]))

    def fill(self, block: EarlierResult) -> None:
        for n, at in zip(*np.nonzero(block.filled), strict=True):
            mask = self.fit.to_size(block.logits[n, at : at + 1], self.job.source.size)[0]
            self._rle[n][block.index + at] = encode_mask(mask)
            if self._logits is not None:
                self._logits[n][block.index + at] = _half(block.logits[n, at])

    def replace(self, chosen: Sequence[int], other: Collected) -> None:
        """Masks and M+ of some expressions from another pass; the relevance stays."""
        for block, second in zip(self._blocks, other._blocks, strict=True):
            block.relevant[chosen] = second.relevant
        for row, n in enumerate(chosen):
            self._rle[n] = other._rle[row]
            if self._logits is not None:
                self._logits[n] = other._logits[row]

    def joined(self, name: str) -> np.ndarray:
        """``numbers`` (T,), ``relevance`` or ``relevant`` (N, T) of all blocks."""
        return np.concatenate([getattr(block, name) for block in self._blocks], axis=-1)

    def clear_what_was_not_found(self) -> None:
        """Without any M+ frame all masks are empty, in the ablations without two paths too."""
        empty = encode_mask(np.zeros(self.job.source.size, dtype=bool))
        for n in np.flatnonzero(~self.joined("relevant").any(axis=1)):
            self._rle[n] = [empty] * len(self._rle[n])
            if self._logits is not None:
                self._logits[n] = [np.full_like(x, ABSENT_LOGIT) for x in self._logits[n]]

    def segmentations(self) -> list[Segmentation]:
        numbers, relevance = self.joined("numbers"), self.joined("relevance")
        return [
            Segmentation(
                text=text,
                num_frames=len(numbers),
                size=self.job.source.size,
                fps=self.job.source.fps,
                frames=numbers,
                relevance=relevance[n],
                moments=spans(numbers, relevant),
                rle=self._rle[n],
                logits=None if self._logits is None else np.stack(self._logits[n]),
            )
            for n, (text, relevant) in enumerate(
                zip(self.job.texts, self.joined("relevant"), strict=True)
            )
        ]


def _half(logits: Tensor) -> np.ndarray:
    return logits.half().cpu().numpy()
