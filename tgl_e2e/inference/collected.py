"""What one or two passes over a video have found so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tgl_e2e.fit import Fit
from tgl_e2e.inference.video_pass import BlockResult, EarlierResult
from tgl_e2e.model.features import ABSENT_LOGIT
from tgl_e2e.moments import spans
from tgl_e2e.results import Segmentation, encode_mask
from tgl_e2e.video.source import VideoSource


class Collected:
    """What has been found so far: scores, masks as run lengths, and logits where asked for."""

    def __init__(
        self, source: VideoSource, fit: Fit, texts: Sequence[str], keep_logits: bool
    ) -> None:
        self.source = source
        self.fit = fit
        self.texts = list(texts)
        self._numbers: list[np.ndarray] = []
        self._relevance: list[np.ndarray] = []
        self._relevant: list[np.ndarray] = []
        self._waiting: list[np.ndarray] = []
        self._held: list[np.ndarray] = []
        self._rle: list[list[dict]] = [[] for _ in texts]
        self._logits: list[list[np.ndarray]] | None = [[] for _ in texts] if keep_logits else None

    def add_scores(self, block: BlockResult) -> None:
        self._numbers.append(block.numbers)
        self._relevance.append(block.relevance)
        self._relevant.append(block.relevant)
        if block.restarted.any():
            for waiting, held, relevant in zip(
                self._waiting, self._held, self._relevant[:-1], strict=True
            ):
                waiting[block.restarted] = True
                held[block.restarted] = relevant[block.restarted]
        self._waiting.append(block.waiting)
        self._held.append(block.held)

    def add(self, block: BlockResult) -> None:
        self.add_scores(block)
        for n, rle in enumerate(self._rle):
            masks = self.fit.to_size(block.logits[n], self.source.size)
            rle.extend(encode_mask(mask) for mask in masks)
            if self._logits is not None:
                self._logits[n].extend(_half(block.logits[n]))

    def fill(self, block: EarlierResult) -> None:
        for n, at in zip(*np.nonzero(block.filled), strict=True):
            mask = self.fit.to_size(block.logits[n, at : at + 1], self.source.size)[0]
            self._rle[n][block.index + at] = encode_mask(mask)
            if self._logits is not None:
                self._logits[n][block.index + at] = _half(block.logits[n, at])

    def replace(self, chosen: list[int], other: Collected) -> None:
        """Masks and M+ of some sentences from another pass; the relevance stays."""
        relevant = np.concatenate(self._relevant, axis=1)
        relevant[chosen] = np.concatenate(other._relevant, axis=1)
        self._relevant = [relevant]
        for row, n in enumerate(chosen):
            self._rle[n] = other._rle[row]
            if self._logits is not None:
                self._logits[n] = other._logits[row]

    def numbers(self) -> np.ndarray:
        return np.concatenate(self._numbers)

    def relevance(self) -> np.ndarray:
        return np.concatenate(self._relevance, axis=1)

    def waiting(self) -> np.ndarray:
        return np.concatenate(self._waiting, axis=1)

    def held(self) -> np.ndarray:
        return np.concatenate(self._held, axis=1)

    def any_relevant(self, n: int) -> bool:
        return any(block[n].any() for block in self._relevant)

    def clear_what_was_not_found(self) -> None:
        """Without any M+ frame all masks are empty, in the ablations without two paths too."""
        empty = encode_mask(np.zeros(self.source.size, dtype=bool))
        for n, rle in enumerate(self._rle):
            if not self.any_relevant(n):
                self._rle[n] = [empty] * len(rle)
                if self._logits is not None:
                    self._logits[n] = [np.full_like(x, ABSENT_LOGIT) for x in self._logits[n]]

    def segmentations(self) -> list[Segmentation]:
        numbers, relevance = self.numbers(), self.relevance()
        relevant = np.concatenate(self._relevant, axis=1)
        return [
            Segmentation(
                text=text,
                num_frames=len(numbers),
                size=self.source.size,
                fps=self.source.fps,
                frames=numbers,
                relevance=relevance[n],
                moments=spans(numbers, relevant[n]),
                rle=self._rle[n],
                logits=None if self._logits is None else np.stack(self._logits[n]),
            )
            for n, text in enumerate(self.texts)
        ]


def _half(logits: Tensor) -> np.ndarray:
    return logits.half().cpu().numpy()
