"""One or two readings of a video, block by block: banks, and both paths.

A fixed grid cuts the video into blocks, and the frames of a block are dealt into the windows that
temporal modules see. A frame's window depends on its index and the grid alone, so reading and
batching never change a result. Peak memory depends on the block, not on the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.inference.block_encoder import BlockEncoder, Chooser, Encoded
from tgl_e2e.inference.block_reader import Block, Progress, read_blocks
from tgl_e2e.model.cpu import FastProducts
from tgl_e2e.model.memory import Memories, MemoryBank
from tgl_e2e.model.tgl import TGL
from tgl_e2e.model.vision import ABSENT_LOGIT, FrameFeatures
from tgl_e2e.video.source import VideoSource


@dataclass
class BlockResult:
    """numbers: (n,) original frame numbers; index: of the first of them; relevance: (N, n) float32;
    relevant: (N, n) bool, M+; logits: (N, n, h, w) mask logits; waiting: (N, n) bool, frames that
    have no mask yet, since nothing was remembered when they came or they are earlier than the
    anchor; held: (N, n) bool, those of them that language segments; restarted: (N,) bool, memory
    begins anew in this block, and all frames before it wait."""

    numbers: np.ndarray
    index: int
    relevance: np.ndarray
    relevant: np.ndarray
    logits: Tensor
    waiting: np.ndarray
    held: np.ndarray
    restarted: np.ndarray


@dataclass
class EarlierResult:
    """Of a second reading. index: of the block's first frame; logits: (N, n, h, w) mask logits;
    filled: (N, n) bool, frames that waited for them."""

    index: int
    logits: Tensor
    filled: np.ndarray


@dataclass
class Remembered:
    """What is remembered for one sentence.

    bank; first_entries: those of the first block with any, which frames before it are carried from;
    begun: relevance of the frame that it begins with; highest: of the M+ frames until now, but for
    those that might have been anchors and showed nothing.
    """

    bank: MemoryBank = field(default_factory=MemoryBank)
    first_entries: Memories | None = None
    begun: float = 0.0
    highest: float = 0.0


class VideoPass:
    """N sentences in one video: what is remembered, and what is done block by block.

    Where M+ is the network's own choice, what is found first should be found where it is most
    certain, because all later masks follow the memory of it. The anchor is the first M+ frame of a
    block whose relevance comes near to the highest so far (``memory.anchor``), of those in which
    something is found. M+ frames from the anchor on are segmented in time order; what comes before
    it waits for a second reading. Where a block brings a relevance to which the anchor no longer
    comes near, memory begins anew in that block.

    Args:
        anchored: whether M+ is such a choice.
    """

    def __init__(
        self,
        model: TGL,
        source: VideoSource,
        texts: Sequence[str],
        frames: tuple[int, int | None, int],
        batch_frames: int,
        tam_stride: int,
        progress: Progress,
        always_target: bool,
        anchored: bool,
    ) -> None:
        self.model = model
        self.memory = model.config.memory
        self.batch_frames = batch_frames
        self.progress = progress
        self.source = source
        self.frames = frames
        self.device = next(self.model.parameters()).device
        tokens = self.model.text.tokenize(list(texts)).to(self.device)
        self.encoder = BlockEncoder(model, tokens, tam_stride, batch_frames)
        self.remembered = [Remembered() for _ in texts]
        self.keep = max(self.memory.num_memories, self.memory.num_pointers)
        splits = self.memory.bank != "all" and self.memory.dual_path
        self.anchor = self.memory.anchor if anchored and splits else 0.0
        # Where a target is promised, there must be something to carry; and "all" is all.
        self.present_only = (
            self.memory.present_only and self.memory.bank != "all" and not always_target
        )

    @property
    def banks(self) -> list[MemoryBank]:
        return [remembered.bank for remembered in self.remembered]

    def _read(self, stage: str) -> Iterator[Block]:
        config = self.model.config
        return read_blocks(
            self.source, self.frames, config.block, config.vision.image_size, stage, self.progress
        )

    def _computing(self) -> ExitStack:
        """The context of everything that the network does here."""
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.model.autocast())
            stack.enter_context(FastProducts())
            return stack.pop_all()

    # --- passes ----------------------------------------------------------------------------

    def scores(self) -> Iterator[BlockResult]:
        """Relevance alone."""
        for block in self._read("reading"):
            with self._computing():
                relevance = self.encoder.relevance(block)
            none = np.zeros(relevance.shape, bool)
            yield BlockResult(
                block.numbers[block.first :],
                block.index,
                relevance,
                none,
                torch.empty(0),
                none,
                none,
                none[:, 0],
            )

    def blocks(self, stage: str, choose: Chooser) -> Iterator[BlockResult]:
        """Masks and relevance of every block, in order."""
        for block in self._read(stage):
            with self._computing():
                result = self._segment_block(block, choose)
            yield result

    def earlier_blocks(self, waiting: np.ndarray, held: np.ndarray) -> Iterator[EarlierResult]:
        """Frames before the anchor, from a second reading of the file up to there: M+ frames in
        time order, then the others.

        Args:
            waiting: (N, T) bool, the frames that :meth:`blocks` left without a mask.
            held: (N, T) bool, those of them that language segments.
        """
        firsts = [remembered.first_entries for remembered in self.remembered]
        waiting = waiting & np.array([entries is not None for entries in firsts])[:, None]
        if not waiting.any():
            return
        last = int(np.flatnonzero(waiting.any(axis=0))[-1])
        self.remembered = [Remembered(MemoryBank(later=entries)) for entries in firsts]
        for block in self._read("propagating backwards"):
            own = slice(block.index, block.index + len(block))
            if waiting[:, own].any():
                with self._computing():
                    logits = self._segment_earlier(block, waiting[:, own], held[:, own])
                yield EarlierResult(block.index, logits, waiting[:, own])
            if own.stop > last:
                return

    # --- one block -------------------------------------------------------------------------

    def _segment_block(self, block: Block, choose: Chooser) -> BlockResult:
        logits = self._new_logits(len(self.banks), len(block))
        encoded, relevant = self.encoder.encode(block, choose)
        language = self.encoder.language(relevant)
        first, restarted, begun = self._begin(block, encoded, language, logits)
        before = np.arange(len(block)) < first[:, None]
        written = np.ones_like(language) if self.memory.bank == "all" else language & ~before
        if self.anchor:  # without a bank all M+ frames have been tried
            written &= np.array([len(bank) > 0 for bank in self.banks])[:, None]
        missed = self._write_in_order(block, encoded, language, written & ~begun, logits)
        written &= ~missed
        banks = [bank.read() if len(bank) else None for bank in self.banks]
        waiting = ~written & (before | np.array([bank is None for bank in banks])[:, None])
        self._carry(block, encoded, ~written & ~waiting, logits, banks)
        for remembered, entries in zip(self.remembered, banks, strict=True):
            if remembered.first_entries is None and entries is not None:
                remembered.first_entries = entries.entries(slice(0, self.keep)).clone()
            remembered.bank.prune(self.keep)
        return BlockResult(
            block.numbers[block.first :],
            block.index,
            encoded.relevance,
            relevant,
            logits,
            waiting,
            language & before,
            restarted,
        )

    def _segment_earlier(self, block: Block, waiting: np.ndarray, held: np.ndarray) -> Tensor:
        """Mask logits (N, n, h, w) of a block's frames that come before what is remembered."""
        logits = self._new_logits(len(self.banks), len(block))
        if held.any() or not self.memory.mfe:  # M- frames read F_Adp then, of all windows
            encoded, _ = self.encoder.encode(block, lambda _, relevance: held)
        else:
            encoded = Encoded(np.empty(0))
        missed = self._write_in_order(block, encoded, held, held, logits)
        banks = [bank.read() if len(bank) else None for bank in self.banks]
        self._carry(block, encoded, waiting & (~held | missed), logits, banks)
        for bank in self.banks:
            bank.prune(self.keep)
        return logits

    def _begin(
        self, block: Block, encoded: Encoded, language: np.ndarray, logits: Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Memory begins in this block, if it must: in the first of the frames nearest to the
        highest relevance in which something is found.

        Returns:
            first (N,), the position before which M+ frames wait; restarted (N,) bool, whether what
            was remembered is put aside; begun (N, n) bool, the anchors, which are in their banks.
        """
        first, restarted = np.zeros(len(language), int), np.zeros(len(language), bool)
        begun = np.zeros_like(language)
        chosen = np.where(language, encoded.relevance, -1.0)
        former, trying = list(self.remembered), set(range(len(language)) if self.anchor else ())
        while trying:
            anchors = np.zeros_like(language)
            for n in sorted(trying):
                known = self.remembered[n] = former[n]
                highest = max(known.highest, float(chosen[n].max()))
                near = (chosen[n] >= 0) & (chosen[n] >= self.anchor * highest)
                if not near.any() or (len(known.bank) and known.begun >= self.anchor * highest):
                    known.highest = highest
                    trying.remove(n)
                else:
                    self.remembered[n] = Remembered(highest=highest)
                    anchors[n, near.argmax()] = True
            missed = self._write_in_order(block, encoded, language, anchors, logits)
            chosen[missed] = -1.0  # the next most certain frame, then
            for n, at in zip(*np.nonzero(anchors & ~missed), strict=True):
                trying.remove(n)
                begun[n, at], restarted[n] = True, len(former[n].bank) > 0
                # Without M+ frames that must wait, M- frames need no second reading.
                first[n] = at if restarted[n] or language[n, :at].any() else 0
        return first, restarted, begun

    def _write_in_order(
        self,
        block: Block,
        encoded: Encoded,
        language: np.ndarray,
        written: np.ndarray,
        logits: Tensor,
    ) -> np.ndarray:
        """Frames that enter the bank, in time order; sentences whose banks are equally long go
        together, because memory attention knows no key mask.

        Returns:
            (N, n) bool, frames taken for M+ in which nothing was found: with ``present_only`` they
            are not remembered, and M- after all.
        """
        missed = np.zeros_like(written)
        queues = [list(np.flatnonzero(row)) for row in written]
        while any(queues):
            groups: dict[int, list[int]] = {}
            for n, queue in enumerate(queues):
                if queue:
                    groups.setdefault(self.banks[n].count(self.keep), []).append(n)
            for entries, group in groups.items():
                pairs = [(n, int(queues[n].pop(0))) for n in group]
                spoken = [bool(language[pair]) for pair in pairs]
                features = FrameFeatures.cat(
                    [
                        encoded.features(pair, lit, self.memory.mfe)
                        for pair, lit in zip(pairs, spoken, strict=True)
                    ]
                )
                silent = torch.zeros(1, 1, self.model.vision.dim, device=self.device)
                prompts = torch.cat(
                    [
                        encoded.prompts[pair] if lit else silent
                        for pair, lit in zip(pairs, spoken, strict=True)
                    ]
                )
                memories = None
                if entries:  # of those earlier than this frame only the newest can be the nearest
                    memories = Memories.join([self.banks[n].read(self.keep) for n in group])
                numbers = self._numbers(block, [at for _, at in pairs])
                if all(spoken):
                    prediction = self.model.segment(features, numbers, memories, prompts)
                else:
                    prediction = self.model.segment_mixed(
                        features, numbers, memories, prompts, torch.tensor(spoken)
                    )
                fresh = self.model.vision.write_memory(features, prediction, numbers)
                gated = prediction.gated()
                seen = (prediction.presence > 0).tolist() if self.present_only else None
                for row, (n, at) in enumerate(pairs):
                    logits[n, at] = gated[row]
                    if seen is None or seen[row]:
                        remembered = self.remembered[n]
                        if not len(remembered.bank):
                            remembered.begun = float(encoded.relevance[n, at])
                        remembered.bank.write(fresh.banks(slice(row, row + 1)).clone())
                    else:
                        missed[n, at] = self.memory.dual_path
        return missed

    def _carry(
        self,
        block: Block,
        encoded: Encoded,
        carried: np.ndarray,
        logits: Tensor,
        banks: Sequence[Memories | None],
    ) -> None:
        """M- frames (N, n), in batches: they depend on the bank alone, not on one another."""
        if self.memory.mfe:  # where language found nothing, F_SAM is not there yet
            self.encoder.add_plain(block, np.flatnonzero(carried.any(axis=0)), encoded)
        for n, row in enumerate(carried):
            mine = np.flatnonzero(row)
            for first in range(0, len(mine), self.batch_frames):
                chosen = [int(at) for at in mine[first : first + self.batch_frames]]
                features = FrameFeatures.cat(
                    [encoded.features((n, at), False, self.memory.mfe) for at in chosen]
                )
                prediction = self.model.segment(
                    features,
                    self._numbers(block, chosen),
                    banks[n].expand(len(chosen)),
                    prompts=None,
                )
                logits[n, chosen] = prediction.gated()

    def _numbers(self, block: Block, positions: Sequence[int]) -> Tensor:
        """Places of frames in time, for the memory: processed frames count, as in training. They
        stay on the host, where the nearest entries are chosen without waiting for a GPU."""
        return torch.tensor([block.index + at for at in positions])

    def _new_logits(self, texts: int, count: int) -> Tensor:
        side = self.model.config.vision.image_size // 4
        return torch.full((texts, count, side, side), ABSENT_LOGIT, device=self.device)
