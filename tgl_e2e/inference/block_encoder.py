"""Features and relevance of a block's frames: windows, both kinds of features, and the TAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.inference.block_reader import Block
from tgl_e2e.inference.device import computing, share_threads
from tgl_e2e.inference.prefetch import side_by_side
from tgl_e2e.model.dual_path import DualPath
from tgl_e2e.model.features import AdaptedClip, FrameFeatures
from tgl_e2e.model.text import TextTokens
from tgl_e2e.model.tgl import TGL
from tgl_e2e.windows import WINDOWS

# M+ (N, n) of a block's own frames, from the block and its relevance (N, n)
Chooser = Callable[[Block, np.ndarray], np.ndarray]


@dataclass
class Encoded:
    """Features of a block's own frames, by place in the block.

    relevance: (N, n); adapted and prompts: (sentence, place) -> F_Adp and rho_txt; plain: place ->
    F_SAM; finest: place -> the features at stride 4, which come from before the first adapter: one
    tensor for all of them.
    """

    relevance: np.ndarray
    adapted: dict[tuple[int, int], FrameFeatures] = field(default_factory=dict)
    prompts: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    plain: dict[int, FrameFeatures] = field(default_factory=dict)
    finest: dict[int, Tensor] = field(default_factory=dict)

    def features(self, pair: tuple[int, int], language: bool, mfe: bool) -> FrameFeatures:
        """What the paths of Eq. 4 read: F_Adp with language, F_SAM without (F_Adp without MFE)."""
        return self.adapted[pair] if language or not mfe else self.plain[pair[1]]

    def keep_adapted(
        self, clip: AdaptedClip, expressions: Sequence[int], places: np.ndarray, needed: np.ndarray
    ) -> None:
        """F_Adp of the frames at ``places`` where it is ``needed`` (N, n); ``clip`` is of these
        ``expressions``."""
        for row, n in enumerate(expressions):
            for column, at in enumerate(places.tolist()):
                if needed[n, at]:
                    frame = row * len(places) + column
                    self.adapted[n, at] = self._taken(clip.features, frame, column, at)
                    self.prompts[n, at] = clip.prompts[row : row + 1]

    def keep_plain(self, features: FrameFeatures, places: np.ndarray) -> None:
        """F_SAM of the frames at ``places``."""
        for row, at in enumerate(places.tolist()):
            self.plain[at] = self._taken(features, row, row, at)

    def _taken(self, features: FrameFeatures, frame: int, column: int, place: int) -> FrameFeatures:
        """Frame ``frame`` of a batch, ``column`` of its finest level. Copies: views would keep the
        whole batch alive."""
        if place not in self.finest:
            self.finest[place] = features.fine[0][column : column + 1].clone()
        return FrameFeatures(
            features.top[frame : frame + 1].clone(),
            (self.finest[place], features.fine[1][frame : frame + 1].clone()),
        )


class BlockEncoder:
    """Runs trunk, adapters and TAM over the frames of a block, each no more often than needed.

    Args:
        path: which frames need F_Adp, and which F_SAM.
        tokens: of N sentences.
        tam_stride: the TAM scores every n-th frame of a block, and the relevance of frames between
            is interpolated; adapters then run on those and on M+ frames. 0: it scores none, the
            relevance of a frame is whether it is M+, and adapters run on M+ frames alone.
        batch_frames: frames that go through the plain trunk at once.
    """

    def __init__(
        self, model: TGL, path: DualPath, tokens: TextTokens, tam_stride: int, batch_frames: int
    ) -> None:
        self.model = model
        self.path = path
        self.tokens = tokens
        self.tam_stride = tam_stride
        self.batch_frames = batch_frames
        self.smooth = model.config.tam.smooth
        self.windows = WINDOWS[model.config.windows]
        self.device = tokens.ids.device
        self.share = share_threads(model)

    def relevance(self, block: Block) -> np.ndarray:
        """(N, n), nothing else."""
        return self._score(block, None, Encoded(np.empty(0)))

    def encode(self, block: Block, choose: Chooser) -> tuple[Encoded, np.ndarray]:
        """Features that masks need, and M+ (N, n)."""
        texts = len(self.tokens.ids)
        encoded = Encoded(np.zeros((texts, len(block)), np.float32))
        if self.tam_stride:
            # Smoothed scores are known after the last window: until then all features are kept.
            keep = every_frame if self.smooth > 1 else choose
            encoded.relevance = self._score(block, keep, encoded)
        relevant = choose(block, encoded.relevance)
        if not self.tam_stride:
            encoded.relevance = relevant.astype(np.float32)
        needed = self.path.adapted(self.path.language(relevant))
        for pair in [pair for pair in encoded.adapted if not needed[pair]]:
            del encoded.adapted[pair], encoded.prompts[pair]
        self._adapt_rest(block, needed, encoded)
        self.add_plain(block, np.flatnonzero(~needed.all(axis=0)), encoded)
        return encoded, relevant

    def add_plain(self, block: Block, places: np.ndarray, encoded: Encoded) -> None:
        """F_SAM of the frames that lack it."""
        places = np.array([at for at in places if at not in encoded.plain], dtype=int)
        for first in range(0, len(places), self.batch_frames):
            chosen = places[first : first + self.batch_frames]
            encoded.keep_plain(self.model.extract_plain(self._prefix(block, chosen)), chosen)

    # --- steps -----------------------------------------------------------------------------

    def _score(self, block: Block, choose: Chooser | None, encoded: Encoded) -> np.ndarray:
        """Relevance of all frames of the block (N, n). The features that came with
        it are kept where ``choose`` says that masks need them."""
        scored = np.arange(0, len(block.numbers), self.tam_stride)
        logits = np.full((len(self.tokens.ids), len(block.numbers)), np.nan, np.float32)
        windows = [scored[own] for own in self.windows(len(scored), self.model.config.window)]
        clips = self._adapted(block, [(window, self.tokens) for window in windows], align=True)
        for window, (prefix, clip) in zip(windows, clips, strict=True):
            logits[:, window] = clip.relevance.float().cpu().numpy()
            if choose is None:
                continue
            # Other windows' scores may be missing yet; only this window's columns are looked at.
            needed = self.path.adapted(self.path.language(choose(block, _sigmoid(logits))))
            encoded.keep_adapted(clip, range(len(logits)), window, needed)
            rows = np.flatnonzero(~needed[:, window].all(axis=0))
            if len(rows):
                plain = self.model.extract_plain([level[rows.tolist()] for level in prefix])
                encoded.keep_plain(plain, window[rows])
        relevance = np.zeros_like(logits)
        relevance[:, scored] = _sigmoid(smoothed(logits[:, scored], self.smooth))
        if self.tam_stride > 1:
            every = np.arange(len(block.numbers))
            relevance = np.stack([np.interp(every, scored, row[scored]) for row in relevance])
        return relevance.astype(np.float32)

    def _adapt_rest(self, block: Block, needed: np.ndarray, encoded: Encoded) -> None:
        """F_Adp of frames that need it and were not scored. A sentence's windows hold its own
        frames alone: which others run beside it changes nothing."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for n, row in enumerate(needed):
            places = tuple(int(at) for at in np.flatnonzero(row) if (n, at) not in encoded.adapted)
            if places:
                groups.setdefault(places, []).append(n)
        parts = [
            (np.array(places)[window], group)
            for places, group in groups.items()
            for window in self.windows(len(places), self.model.config.window)
        ]
        said = [(chosen, self.tokens[group]) for chosen, group in parts]
        clips = self._adapted(block, said, align=False)
        for (chosen, group), (_, clip) in zip(parts, clips, strict=True):
            encoded.keep_adapted(clip, group, chosen, needed)

    def _adapted(
        self, block: Block, said: Sequence[tuple[np.ndarray, TextTokens]], align: bool
    ) -> Iterator[tuple[list[Tensor], AdaptedClip]]:
        """Prefix and adapted clip of each window under its sentences, in order."""
        workers = max(1, min(self.share.windows, len(said))) if self.share else 1

        def one(pair: tuple[np.ndarray, TextTokens]) -> tuple[list[Tensor], AdaptedClip]:
            with computing(self.model, self.share and max(1, self.share.count // workers)):
                return self._adapt(block, *pair, align)

        return side_by_side(one, said, workers)

    def _adapt(
        self, block: Block, window: np.ndarray, tokens: TextTokens, align: bool
    ) -> tuple[list[Tensor], AdaptedClip]:
        texts = len(tokens.ids)
        prefix = self._prefix(block, window)
        times = torch.from_numpy(window).to(self.device) / self.model.config.block
        clip = self.model.extract_adapted(prefix, tokens, times[None].expand(texts, -1), align)
        return prefix, clip

    def _prefix(self, block: Block, positions: np.ndarray) -> list[Tensor]:
        return self.model.encode_prefix(block.images[positions].to(self.device))


def every_frame(block: Block, relevance: np.ndarray) -> np.ndarray:
    """A Chooser: everything is M+."""
    return np.ones(relevance.shape, dtype=bool)


def smoothed(logits: np.ndarray, width: int) -> np.ndarray:
    """Mean over ``width`` neighbours (odd), as far as there are any; (N, n), NaN where unknown.

    Neighbouring frames belong to different windows, so this is a mean of several readings of the
    same moment: of n windows, each saw every n-th frame.
    """
    half = width // 2
    padded = np.pad(logits, ((0, 0), (half, half)), constant_values=np.nan)
    views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)  # (N, n, width)
    known = ~np.isnan(views)
    mean = np.where(known, views, 0).sum(axis=-1) / known.sum(axis=-1).clip(1)
    return np.where(np.isnan(logits), np.nan, mean)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, 0 where the logit is unknown."""
    return np.where(np.isnan(logits), 0, 1 / (1 + np.exp(-logits.clip(-60, 60))))
