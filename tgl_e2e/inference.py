"""One pass over a video, block by block: banks, and both paths.

A fixed grid cuts the video into blocks, and the frames of a block are dealt into the windows that
temporal modules see. A frame's window depends on its index and the grid alone, so reading and
batching never change a result. Peak memory depends on the block, not on the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tgl_e2e.encoding import BlockEncoder, Chooser, Encoded, no_frame
from tgl_e2e.model.cpu import FastProducts
from tgl_e2e.model.memory import Memories, MemoryBank
from tgl_e2e.model.tgl import TGL
from tgl_e2e.model.vision import ABSENT_LOGIT, FrameFeatures
from tgl_e2e.reading import Block, Progress, read_blocks
from tgl_e2e.video import VideoSource


@dataclass
class BlockResult:
    """numbers: (n,) original frame numbers; index: of the first of them; relevance: (N, n) float32;
    relevant: (N, n) bool, M+; logits: (N, n, h, w) mask logits; waiting: (N, n) bool, frames that
    came when nothing was remembered of the video, which have no mask yet."""

    numbers: np.ndarray
    index: int
    relevance: np.ndarray
    relevant: np.ndarray
    logits: Tensor
    waiting: np.ndarray


class VideoPass:
    """One reading of the video for N sentences: the banks, and what is done block by block."""

    def __init__(
        self, model: TGL, source: VideoSource, texts: Sequence[str],
        frames: tuple[int, int | None, int], batch_frames: int, tam_stride: int, progress: Progress,
        always_target: bool,
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
        self.banks = [MemoryBank() for _ in texts]
        # The entries of the first block with any: what frames before it are carried from.
        self.first_entries: list[Memories | None] = [None] * len(texts)
        self.keep = max(self.memory.num_memories, self.memory.num_pointers)
        # Where a target is promised, there must be something to carry; and "all" is all.
        self.present_only = (
            self.memory.present_only and self.memory.bank != "all" and not always_target)

    def _read(self, stage: str) -> Iterator[Block]:
        config = self.model.config
        return read_blocks(self.source, self.frames, config.block, config.vision.image_size, stage,
                           self.progress)

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
            count = relevance.shape
            yield BlockResult(block.numbers[block.first:], block.index, relevance,
                              np.zeros(count, bool), torch.empty(0), np.zeros(count, bool))

    def blocks(self, stage: str, choose: Chooser) -> Iterator[BlockResult]:
        """Masks and relevance of every block, in order."""
        for block in self._read(stage):
            with self._computing():
                result = self._segment_block(block, choose)
            yield result

    def earlier_blocks(self, waiting: np.ndarray) -> Iterator[BlockResult]:
        """Frames before the first remembered one, from a second reading of the file's beginning.

        Args:
            waiting: (N, T) bool, the frames that :meth:`blocks` left without a mask.
        """
        waiting = waiting & np.array([e is not None for e in self.first_entries])[:, None]
        if not waiting.any():
            return
        last = int(np.flatnonzero(waiting.any(axis=0))[-1])
        for block in self._read("propagating backwards"):
            count = len(block)
            wanted = waiting[:, block.index : block.index + count]
            texts, positions = np.nonzero(wanted)
            if len(texts):
                with self._computing():
                    logits = self._new_logits(len(self.banks), count)
                    if self.memory.mfe:
                        encoded = Encoded(np.empty(0))
                        self.encoder.add_plain(block, np.unique(positions), encoded)
                    else:  # M- frames read F_Adp, of all windows
                        encoded, _ = self.encoder.encode(block, no_frame)
                    self._carry(block, encoded, texts, positions, logits, self.first_entries)
                yield BlockResult(block.numbers[block.first:], block.index, np.empty(0),
                                  np.empty(0), logits, wanted)
            if block.index + count > last:
                return

    # --- one block -------------------------------------------------------------------------

    def _segment_block(self, block: Block, choose: Chooser) -> BlockResult:
        logits = self._new_logits(len(self.banks), len(block))
        encoded, relevant = self.encoder.encode(block, choose)
        language = self.encoder.language(relevant)
        written = np.ones_like(language) if self.memory.bank == "all" else language
        self._write_in_order(block, encoded, language, written, logits)
        banks = [bank.read() if len(bank) else None for bank in self.banks]
        waiting = ~written & np.array([bank is None for bank in banks])[:, None]
        texts, positions = np.nonzero(~written & ~waiting)
        self._carry(block, encoded, texts, positions, logits, banks)
        for n, bank in enumerate(self.banks):
            if self.first_entries[n] is None and banks[n] is not None:
                self.first_entries[n] = banks[n].entries(slice(0, self.keep)).clone()
            bank.prune(self.keep)
        return BlockResult(block.numbers[block.first:], block.index, encoded.relevance, relevant,
                           logits, waiting)

    def _write_in_order(
        self, block: Block, encoded: Encoded, language: np.ndarray, written: np.ndarray,
        logits: Tensor,
    ) -> None:
        """Frames that enter the bank, in time order; sentences whose banks are equally long go
        together, because memory attention knows no key mask."""
        queues = [list(np.flatnonzero(row)) for row in written]
        while any(queues):
            groups: dict[int, list[int]] = {}
            for n, queue in enumerate(queues):
                if queue:
                    groups.setdefault(min(len(self.banks[n]), self.keep), []).append(n)
            for entries, group in groups.items():
                pairs = [(n, int(queues[n].pop(0))) for n in group]
                spoken = [bool(language[pair]) for pair in pairs]
                features = FrameFeatures.cat([
                    encoded.features(pair, lit, self.memory.mfe)
                    for pair, lit in zip(pairs, spoken, strict=True)])
                silent = torch.zeros(1, 1, self.model.vision.dim, device=self.device)
                prompts = torch.cat([
                    encoded.prompts[pair] if lit else silent
                    for pair, lit in zip(pairs, spoken, strict=True)])
                memories = None
                if entries:  # all earlier than this frame: only the newest can be the nearest
                    memories = Memories.join([self.banks[n].read(self.keep) for n in group])
                numbers = self._numbers(block, [at for _, at in pairs])
                if all(spoken):
                    prediction = self.model.segment(features, numbers, memories, prompts)
                else:
                    prediction = self.model.segment_mixed(
                        features, numbers, memories, prompts, torch.tensor(spoken))
                fresh = self.model.vision.write_memory(features, prediction, numbers)
                gated = prediction.gated()
                seen = (prediction.presence > 0).tolist() if self.present_only else None
                for row, (n, at) in enumerate(pairs):
                    if seen is None or seen[row]:
                        self.banks[n].write(fresh.banks(slice(row, row + 1)).clone())
                    logits[n, at] = gated[row]

    def _carry(
        self, block: Block, encoded: Encoded, texts: np.ndarray, positions: np.ndarray,
        logits: Tensor, banks: Sequence[Memories | None],
    ) -> None:
        """M- frames, in batches: they depend on the bank alone, not on one another."""
        for n in np.unique(texts):
            mine = positions[texts == n]
            for first in range(0, len(mine), self.batch_frames):
                chosen = [int(at) for at in mine[first : first + self.batch_frames]]
                features = FrameFeatures.cat([
                    encoded.features((n, at), False, self.memory.mfe) for at in chosen])
                prediction = self.model.segment(
                    features, self._numbers(block, chosen), banks[n].expand(len(chosen)),
                    prompts=None)
                logits[n, chosen] = prediction.gated()

    def _numbers(self, block: Block, positions: Sequence[int]) -> Tensor:
        """Places of frames in time, for the memory: processed frames count, as in training. They
        stay on the host, where the nearest entries are chosen without waiting for a GPU."""
        return torch.tensor([block.index + at for at in positions])

    def _new_logits(self, texts: int, count: int) -> Tensor:
        side = self.model.config.vision.image_size // 4
        return torch.full((texts, count, side, side), ABSENT_LOGIT, device=self.device)
