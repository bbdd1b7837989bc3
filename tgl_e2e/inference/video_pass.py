"""One or two readings of a video, block by block: banks, and both paths.

The video is cut into blocks, and the frames of a block are dealt into the windows that temporal
modules see. A frame's window depends on its index and on how many frames there are, so reading and
batching never change a result. Peak memory depends on the block, not on the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.fit import Fit
from tgl_e2e.inference.block_encoder import BlockEncoder, Chooser, Encoded
from tgl_e2e.inference.block_reader import Block, Progress, read_blocks
from tgl_e2e.inference.device import computing
from tgl_e2e.inference.memory_start import Remembered, begin_memory
from tgl_e2e.inference.prefetch import ahead
from tgl_e2e.model.dual_path import PathStep
from tgl_e2e.model.features import ABSENT_LOGIT, FrameFeatures, MaskPrediction
from tgl_e2e.model.memory import MemoryBank
from tgl_e2e.model.samwise import may_reconsider
from tgl_e2e.model.tgl import TGL
from tgl_e2e.moments import Intervals, MomentsSpec
from tgl_e2e.video.source import VideoSource


@dataclass(frozen=True)
class Job:
    """N expressions in part of a video.

    frames: start, end and stride; spec: how M+ is found; intervals: those given for each
    expression, None where none are.
    """

    source: VideoSource
    texts: list[str]
    frames: tuple[int, int | None, int]
    spec: MomentsSpec
    intervals: list[Intervals] | None

    def only(self, chosen: Sequence[int]) -> Job:
        """The same for some of the expressions."""
        return replace(
            self,
            texts=[self.texts[n] for n in chosen],
            intervals=self.intervals and [self.intervals[n] for n in chosen],
        )


@dataclass
class BlockResult:
    """numbers: (n,) original frame numbers; index: of the first of them; relevance: (N, n) float32;
    relevant: (N, n) bool, M+; logits: (N, n, h, w) mask logits, None where scores alone were asked
    for."""

    numbers: np.ndarray
    index: int
    relevance: np.ndarray
    relevant: np.ndarray
    logits: Tensor | None = None


@dataclass
class EarlierResult:
    """Of a second reading. index: of the block's first frame; logits: (N, n, h, w) mask logits;
    filled: (N, n) bool, frames that waited for them."""

    index: int
    logits: Tensor
    filled: np.ndarray


@dataclass(frozen=True)
class PassOptions:
    """What a pass is told by the user, see :class:`tgl_e2e.inference.segmenter.VideoSegmenter`."""

    batch_frames: int
    tam_stride: int
    progress: Progress
    always_target: bool


class VideoPass:
    """What is remembered of N expressions, and what is done block by block.

    Args:
        anchored: whether M+ is the network's own choice, so that :mod:`memory_start` decides which
            frame memory begins with; otherwise it is the first of M+.
    """

    def __init__(self, model: TGL, job: Job, options: PassOptions, anchored: bool = False) -> None:
        self.model = model
        self.path = model.dual_path
        self.options = options
        self.job = job
        self.device = next(self.model.parameters()).device
        tokens = self.model.text.tokenize(job.texts).to(self.device)
        self.encoder = BlockEncoder(
            model, self.path, tokens, options.tam_stride, options.batch_frames
        )
        self.remembered = [Remembered() for _ in job.texts]
        # Frames (N, n) of each block that have no mask yet, since nothing was remembered when they
        # came or they are earlier than the anchor; those of them that language segments; and M+.
        self._waiting: list[np.ndarray] = []
        self._held: list[np.ndarray] = []
        self._relevant: list[np.ndarray] = []
        memory = model.config.memory
        splits = self.path.two_paths and not self.path.all_enter
        self.share = memory.anchor if anchored and splits else 0.0
        # Where a target is promised, there must be something to carry; and "all" is all.
        self.present_only = (
            memory.present_only and not self.path.all_enter and not options.always_target
        )

    @property
    def banks(self) -> list[MemoryBank]:
        return [remembered.bank for remembered in self.remembered]

    def _read(self, stage: str) -> Iterator[Block]:
        config = self.model.config
        return read_blocks(
            self.job.source,
            self.job.frames,
            config.block,
            Fit.of(self.model),
            stage,
            self.options.progress,
            even=config.windows == "dealt",
        )

    # --- passes ----------------------------------------------------------------------------

    def scores(self) -> Iterator[BlockResult]:
        """Relevance alone."""
        for block in self._read("reading"):
            with computing(self.model):
                relevance = self.encoder.relevance(block)
            none = np.zeros(relevance.shape, bool)
            yield BlockResult(block.numbers, block.index, relevance, none)

    def blocks(self, choose: Chooser) -> Iterator[BlockResult]:
        """Masks and relevance of every block, in order.

        What a block shows does not depend on what is remembered: where threads are shared, the next
        block is encoded while this one is segmented.
        """
        share = self.encoder.share

        def encoded() -> Iterator[tuple[Block, Encoded, np.ndarray]]:
            for block in self._read("segmenting"):
                with computing(self.model):
                    features, relevant = self.encoder.encode(block, choose)
                yield block, features, relevant

        for block, features, relevant in ahead(encoded(), 0) if share else encoded():
            with computing(self.model, share and share.masks):
                result = self._segment_block(block, features, relevant)
            del features  # a block's worth of memory, while the next is waited for
            yield result

    def earlier_blocks(self) -> Iterator[EarlierResult]:
        """The frames that :meth:`blocks` left without a mask, from a second reading of the file up
        to the last of them: M+ frames in time order, then the others."""
        firsts = [remembered.first_entries for remembered in self.remembered]
        waiting = np.concatenate(self._waiting, axis=1)
        waiting &= np.array([entries is not None for entries in firsts])[:, None]
        held = np.concatenate(self._held, axis=1)
        if not waiting.any():
            return
        last = int(np.flatnonzero(waiting.any(axis=0))[-1])
        self.remembered = [Remembered(MemoryBank(later=entries)) for entries in firsts]
        for block in self._read("propagating backwards"):
            own = slice(block.index, block.index + len(block))
            if waiting[:, own].any():
                with computing(self.model):
                    logits = self._segment_earlier(block, waiting[:, own], held[:, own])
                yield EarlierResult(block.index, logits, waiting[:, own])
            if own.stop > last:
                return

    # --- one block -------------------------------------------------------------------------

    def _segment_block(self, block: Block, encoded: Encoded, relevant: np.ndarray) -> BlockResult:
        logits = self._new_logits(len(self.banks), len(block))
        language = self.path.language(relevant)
        start = begin_memory(
            self.remembered,
            self.share,
            np.where(language, encoded.relevance, -1.0),
            lambda frames: self._write_in_order(block, encoded, language, frames, logits),
        )
        written = self.path.written(language) & start.allowed
        missed = self._write_in_order(block, encoded, language, written & ~start.begun, logits)
        written &= ~missed
        nothing = np.array([len(bank) == 0 for bank in self.banks])
        waiting = ~written & (start.before | nothing[:, None])
        self._propagate(block, encoded, ~written & ~waiting, logits)
        for earlier, held, chosen in zip(self._waiting, self._held, self._relevant, strict=True):
            earlier[start.restarted] = True  # memory begins anew: all frames before it wait
            held[start.restarted] = chosen[start.restarted]
        self._waiting.append(waiting)
        self._held.append(language & start.before)
        self._relevant.append(relevant)
        return BlockResult(block.numbers, block.index, encoded.relevance, relevant, logits)

    def _segment_earlier(self, block: Block, waiting: np.ndarray, held: np.ndarray) -> Tensor:
        """Mask logits (N, n, h, w) of a block's frames that come before what is remembered."""
        logits = self._new_logits(len(self.banks), len(block))
        if self.path.adapted(held).any():  # without MFE M- frames read F_Adp, of all windows
            encoded, _ = self.encoder.encode(block, lambda _, relevance: held)
        else:
            encoded = Encoded(np.empty(0))
        missed = self._write_in_order(block, encoded, held, held, logits)
        self._propagate(block, encoded, waiting & (~held | missed), logits)
        return logits

    def _write_in_order(
        self,
        block: Block,
        encoded: Encoded,
        language: np.ndarray,
        written: np.ndarray,
        logits: Tensor,
    ) -> np.ndarray:
        """Segments frames (N, n) that enter the bank, in time order.

        Returns:
            (N, n) bool, frames taken for M+ in which nothing was found: with ``present_only`` they
            are not remembered, and M- after all.
        """

        def take(pairs: list[tuple[int, int]]) -> tuple[FrameFeatures, Tensor, Tensor | None]:
            spoken = bool(language[pairs[0]])
            features = FrameFeatures.cat(
                [encoded.features(pair, spoken, self.path.mfe) for pair in pairs]
            )
            prompts = torch.cat([encoded.prompts[pair] for pair in pairs]) if spoken else None
            return features, self._numbers(block, [at for _, at in pairs]), prompts

        missed = np.zeros_like(written)
        frames = {n: np.flatnonzero(row).tolist() for n, row in enumerate(written)}
        for step in self.path.in_time_order(self.banks, frames, language, take):
            taken = None
            if self.model.conditional is not None and language[step.pairs[0]]:
                taken = self._reconsidered(encoded, step)
            fresh = self.model.vision.write_memory(
                step.features, taken or step.prediction, step.numbers
            )
            gated = step.prediction.gated()
            seen = (step.prediction.presence > 0).tolist() if self.present_only else None
            for row, (n, at) in enumerate(step.pairs):
                logits[n, at] = gated[row]
                if seen is None or seen[row]:
                    entry = fresh[row : row + 1].clone()
                    self.remembered[n].write(entry, float(encoded.relevance[n, at]))
                else:
                    missed[n, at] = self.path.two_paths
        return missed

    def _reconsidered(self, encoded: Encoded, step: PathStep) -> MaskPrediction | None:
        """What memory takes by conditional memory encoding; None: what was found."""
        due = torch.tensor(
            [
                may_reconsider(int(number), self.remembered[n].corrected)
                for (n, _), number in zip(step.pairs, step.numbers, strict=True)
            ]
        )
        if not due.any():
            return None
        prompts = torch.cat([encoded.prompts[pair] for pair in step.pairs])
        taken, other = self.model.conditional.reconsider(
            self.model.vision, step.features, step.prediction, prompts, due.to(self.device)
        )
        for row in other.nonzero().flatten().tolist():
            self.remembered[step.pairs[row][0]].corrected = int(step.numbers[row])
        return taken

    def _propagate(
        self, block: Block, encoded: Encoded, carried: np.ndarray, logits: Tensor
    ) -> None:
        """M- frames (N, n), in batches: they depend on the bank alone, not on one another. The bank
        keeps what later frames may need."""
        if self.path.mfe:  # where language found nothing, F_SAM is not there yet
            self.encoder.add_plain(block, np.flatnonzero(carried.any(axis=0)), encoded)
        for n, (remembered, row) in enumerate(zip(self.remembered, carried, strict=True)):
            if not len(remembered.bank):
                continue
            memories, mine = remembered.bank.read(), np.flatnonzero(row).tolist()
            for first in range(0, len(mine), self.options.batch_frames):
                chosen = mine[first : first + self.options.batch_frames]
                features = FrameFeatures.cat(
                    [encoded.features((n, at), False, self.path.mfe) for at in chosen]
                )
                bank, numbers = memories.expand(len(chosen)), self._numbers(block, chosen)
                prediction = self.path.segment(features, numbers, bank, None)
                logits[n, chosen] = prediction.gated()
            if remembered.first_entries is None:
                remembered.first_entries = memories.entries(slice(0, self.path.keep)).clone()
            remembered.bank.prune(self.path.keep)

    def _numbers(self, block: Block, positions: Sequence[int]) -> Tensor:
        """Places of frames in time, for the memory: processed frames count, as in training. They
        stay on the host, where the nearest entries are chosen without waiting for a GPU."""
        return torch.tensor([block.index + at for at in positions])

    def _new_logits(self, texts: int, count: int) -> Tensor:
        side = self.model.config.vision.image_size // 4
        return torch.full((texts, count, side, side), ABSENT_LOGIT, device=self.device)
