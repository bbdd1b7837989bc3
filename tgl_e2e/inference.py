"""One reading of a video, block by block: windows, banks, and both paths.

A fixed grid cuts the video into blocks, and the frames of a block are dealt into the windows that
temporal modules see. A frame's window depends on its index and the grid alone, so reading and
batching never change a result. Peak memory depends on the block, not on the length of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tgl_e2e.model.memory import Memories, MemoryBank
from tgl_e2e.model.text import TextTokens
from tgl_e2e.model.tgl import TGL
from tgl_e2e.model.vision import ABSENT_LOGIT, FrameFeatures
from tgl_e2e.video import VideoSource
from tgl_e2e.windows import deal_windows

Progress = Callable[[int, int | None, str], None]  # (frames done, frames in all, stage)


@dataclass
class Block:
    """Frames that are processed together.

    numbers: original frame numbers; images: (n, 3, S, S) uint8; first: frames before this position
    are there for their context alone (they belong to the block before); index: position of
    ``numbers[first]`` among all processed frames.
    """

    numbers: np.ndarray
    images: Tensor
    first: int
    index: int


@dataclass
class BlockResult:
    """numbers: (n,) original frame numbers; index: of the first of them; relevance: (N, n) float32;
    relevant: (N, n) bool, M+; logits: (N, n, h, w) mask logits; waiting: (N, n) bool, frames before
    the first M+ frame of the video, which have no mask yet."""

    numbers: np.ndarray
    index: int
    relevance: np.ndarray
    relevant: np.ndarray
    logits: Tensor
    waiting: np.ndarray


# M+ (N, n) of a block's own frames, from the block and its relevance (N, n)
Chooser = Callable[[Block, np.ndarray], np.ndarray]


@dataclass
class _Encoded:
    """Features of a block's own frames, by place in the block.

    relevance: (N, n); adapted and prompts: (sentence, place) -> F_Adp and rho_txt; plain: place ->
    F_SAM.
    """

    relevance: np.ndarray
    adapted: dict[tuple[int, int], FrameFeatures] = field(default_factory=dict)
    prompts: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    plain: dict[int, FrameFeatures] = field(default_factory=dict)

    def features(self, pair: tuple[int, int], language: bool, mfe: bool) -> FrameFeatures:
        """What the paths of Eq. 4 read: F_Adp with language, F_SAM without (F_Adp without MFE)."""
        return self.adapted[pair] if language or not mfe else self.plain[pair[1]]


class VideoPass:
    """One reading of the video for N sentences: the banks, and what is done block by block."""

    def __init__(
        self, model: TGL, source: VideoSource, texts: Sequence[str],
        frames: tuple[int, int | None, int], batch_frames: int, progress: Progress,
    ) -> None:
        self.model = model
        self.memory = model.config.memory
        self.batch_frames = batch_frames
        self.progress = progress
        self.source = source
        self.frames = frames
        self.device = next(self.model.parameters()).device
        self.tokens: TextTokens = self.model.text.tokenize(list(texts)).to(self.device)
        self.banks = [MemoryBank() for _ in texts]
        # The entries of the first block with any: what frames before it are carried from.
        self.first_entries: list[Memories | None] = [None] * len(texts)
        self.keep = max(self.memory.num_memories, self.memory.num_pointers)

    # --- reading ---------------------------------------------------------------------------

    def _read(self, stage: str) -> Iterator[Block]:
        """The blocks of the grid. The last one is filled up from the frames before it, so that its
        windows span as much time as all others do."""
        size, index = self.model.config.block, 0
        start, end, stride = self.frames
        reader = self.source.frames(start, end, stride)  # checks the range
        hint, total = self.source.num_frames or self.source.num_frames_hint, None
        if hint is not None:
            total = len(range(start, hint if end is None else min(end, hint), stride))
        self.progress(0, total, stage)
        before: list[tuple[int, Tensor]] = []
        current: list[tuple[int, Tensor]] = []
        for number, rgb in reader:
            current.append((number, self._shrink(rgb)))
            if len(current) == size:
                yield _block(current, 0, index)
                index += size
                before, current = current, []
                self.progress(index, total, stage)
        if current:
            context = before[len(current):]
            yield _block(context + current, len(context), index)
            self.progress(index + len(current), index + len(current), stage)

    def _shrink(self, rgb: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (3, S, S) uint8"""
        side = self.model.config.vision.image_size
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)
        if image.shape[-2:] == (side, side):
            return image
        resized = F.interpolate(image[None].float(), size=(side, side), mode="bilinear",
                                antialias=True)
        return resized[0].round().clamp(0, 255).to(torch.uint8)

    # --- passes ----------------------------------------------------------------------------

    @torch.no_grad()
    def scores(self) -> Iterator[BlockResult]:
        """Relevance alone."""
        for block in self._read("reading"):
            with self.model.autocast():
                relevance = self._encode(block, choose=None).relevance
            count = relevance.shape
            yield BlockResult(block.numbers[block.first:], block.index, relevance,
                              np.zeros(count, bool), torch.empty(0), np.zeros(count, bool))

    @torch.no_grad()
    def blocks(self, stage: str, choose: Chooser) -> Iterator[BlockResult]:
        """Masks and relevance of every block, in order."""
        for block in self._read(stage):
            yield self._segment_block(block, choose)

    @torch.no_grad()
    def earlier_blocks(self, waiting: np.ndarray) -> Iterator[BlockResult]:
        """Frames before the first M+ frame, from a second reading of the file's beginning.

        Args:
            waiting: (N, T) bool, the frames that :meth:`blocks` left without a mask.
        """
        waiting = waiting & np.array([e is not None for e in self.first_entries])[:, None]
        if not waiting.any():
            return
        last = int(np.flatnonzero(waiting.any(axis=0))[-1])
        for block in self._read("propagating backwards"):
            count = len(block.numbers) - block.first
            wanted = waiting[:, block.index : block.index + count]
            texts, positions = np.nonzero(wanted)
            if len(texts):
                with self.model.autocast():
                    if self.memory.mfe:
                        encoded = self._plain(block, np.unique(positions) + block.first)
                    else:  # M- frames read F_Adp, of all windows
                        encoded = self._encode(block, _no_frame)
                    logits = self._new_logits(len(self.banks), count)
                    self._carry(block, encoded, texts, positions, logits, self.first_entries)
                yield BlockResult(block.numbers[block.first:], block.index, np.empty(0),
                                  np.empty(0), logits, wanted)
            if block.index + count > last:
                return

    # --- one block -------------------------------------------------------------------------

    def _segment_block(self, block: Block, choose: Chooser) -> BlockResult:
        count = len(block.numbers) - block.first
        logits = self._new_logits(len(self.banks), count)
        with self.model.autocast():
            encoded = self._encode(block, choose)
            relevant = choose(block, encoded.relevance)
            language = self._language(relevant)
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

    def _encode(self, block: Block, choose: Chooser | None) -> _Encoded:
        """Runs trunk, adapters and TAM window by window, and keeps the features that masks need.

        Args:
            choose: M+ of the block's own frames; None: relevance alone is wanted.
        """
        model, texts = self.model, len(self.banks)
        relevance = np.zeros((texts, len(block.numbers)), dtype=np.float32)
        encoded = _Encoded(relevance[:, block.first :])
        for window in deal_windows(len(block.numbers), model.config.window):
            if window[-1] < block.first:
                continue  # context alone
            prefix = model.encode_prefix(block.images[window].to(self.device))
            times = torch.from_numpy(window).to(self.device) / model.config.block
            clip = model.extract_adapted(
                [level.repeat(texts, 1, 1, 1) for level in prefix], self.tokens,
                times[None].expand(texts, -1),
            )
            relevance[:, window] = clip.relevance.sigmoid().float().cpu().numpy()
            if choose is None:
                continue
            # Other windows' scores may be missing yet; only this window's columns are looked at.
            language = self._language(choose(block, encoded.relevance))
            carried = []
            for column, at in enumerate(window - block.first):
                if at < 0:
                    continue
                for n in range(texts):
                    if language[n, at] or not self.memory.mfe:
                        row = n * len(window) + column
                        # A copy: a view would keep the features of the whole window alive.
                        encoded.adapted[n, at] = clip.features[row : row + 1].clone()
                        encoded.prompts[n, at] = clip.prompts[n : n + 1]
                if self.memory.mfe and not language[:, at].all():
                    carried.append(column)
            if carried:
                features = model.extract_plain([level[carried] for level in prefix])
                for row, column in enumerate(carried):
                    encoded.plain[window[column] - block.first] = features[row : row + 1].clone()
        return encoded

    def _language(self, relevant: np.ndarray) -> np.ndarray:
        """Which frames take the language path."""
        return relevant if self.memory.dual_path else np.ones_like(relevant)

    def _plain(self, block: Block, positions: np.ndarray) -> _Encoded:
        """F_SAM alone, of some of a block's frames."""
        encoded = _Encoded(np.empty(0))
        for first in range(0, len(positions), self.batch_frames):
            chosen = positions[first : first + self.batch_frames]
            prefix = self.model.encode_prefix(block.images[chosen].to(self.device))
            features = self.model.extract_plain(prefix)
            for row, position in enumerate(chosen):
                encoded.plain[position - block.first] = features[row : row + 1]
        return encoded

    def _write_in_order(
        self, block: Block, encoded: _Encoded, language: np.ndarray, written: np.ndarray,
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
                prediction = self.model.segment_mixed(
                    features, numbers, memories, prompts, torch.tensor(spoken, device=self.device))
                fresh = self.model.vision.write_memory(features, prediction, numbers)
                gated = prediction.gated().to(logits.device)
                for row, (n, at) in enumerate(pairs):
                    self.banks[n].write(fresh.banks(slice(row, row + 1)).clone())
                    logits[n, at] = gated[row]

    def _carry(
        self, block: Block, encoded: _Encoded, texts: np.ndarray, positions: np.ndarray,
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
                logits[n, chosen] = prediction.gated().to(logits.device)

    def _numbers(self, block: Block, positions: Sequence[int]) -> Tensor:
        """Places of frames in time, for the memory: processed frames count, as in training."""
        return torch.tensor([block.index + at for at in positions], device=self.device)

    def _new_logits(self, texts: int, count: int) -> Tensor:
        side = self.model.config.vision.image_size // 4
        return torch.full((texts, count, side, side), ABSENT_LOGIT)


def _no_frame(block: Block, relevance: np.ndarray) -> np.ndarray:
    """A Chooser: nothing is M+."""
    return np.zeros(relevance.shape, dtype=bool)


def _block(frames: list[tuple[int, Tensor]], first: int, index: int) -> Block:
    return Block(np.array([number for number, _ in frames]),
                 torch.stack([image for _, image in frames]), first, index)
