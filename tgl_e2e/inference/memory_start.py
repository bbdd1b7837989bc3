"""Which frame memory begins with, where M+ is the network's own choice (``memory.anchor``).

All later masks follow what is remembered first, so it should be found where the network is most
certain. The anchor is the first M+ frame of a block whose relevance comes near to the highest so
far, of those in which something is found. M+ frames from the anchor on are segmented in time order;
what comes before it waits for a second reading. Where a block brings a relevance to which the
anchor no longer comes near, memory begins anew in that block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tgl_e2e.model.memory import Memories, MemoryBank


@dataclass
class Remembered:
    """What is remembered for one sentence.

    bank; first_entries: those of the first block with any, which frames before it are carried from;
    begun: relevance of the frame that it begins with; highest: of the M+ frames until now, but for
    those that might have been anchors and showed nothing; corrected: the last frame in which it
    took another object than was found with it.
    """

    bank: MemoryBank = field(default_factory=MemoryBank)
    first_entries: Memories | None = None
    begun: float = 0.0
    highest: float = 0.0
    corrected: int = 0

    def write(self, entry: Memories, relevance: float) -> None:
        """entry: of a frame of this relevance."""
        if not len(self.bank):
            self.begun = relevance
        self.bank.write(entry)


@dataclass(frozen=True)
class MemoryStart:
    """How memory begins in a block of n frames, for N sentences.

    before: (N, n) bool, frames before an anchor of this block; allowed: (N, n) bool, frames that
    may enter the bank; begun: (N, n) bool, the anchors, which are in their banks; restarted: (N,)
    bool, what was remembered is put aside.
    """

    before: np.ndarray
    allowed: np.ndarray
    begun: np.ndarray
    restarted: np.ndarray


def begin_memory(
    remembered: list[Remembered],
    share: float,
    relevance: np.ndarray,
    write: Callable[[np.ndarray], np.ndarray],
) -> MemoryStart:
    """Memory begins in this block, if it must: in the first of the frames nearest to the highest
    relevance in which something is found.

    Args:
        remembered: of N sentences; where memory begins anew, another takes its place in the list.
        share: of the highest relevance, which an anchor has at least; 0: no anchors.
        relevance: (N, n) of M+ frames, -1 elsewhere.
        write: segments the frames (N, n) given and writes them to ``remembered``; returns those of
            them in which nothing was found.
    """
    shape, relevance = relevance.shape, relevance.copy()
    first, restarted = np.zeros(shape[0], int), np.zeros(shape[0], bool)
    begun = np.zeros(shape, bool)
    if not share:
        return MemoryStart(begun, ~begun, begun, restarted)
    language = relevance >= 0
    former, trying = list(remembered), set(range(shape[0]))
    while trying:
        anchors = np.zeros(shape, bool)
        for n in sorted(trying):
            known = remembered[n] = former[n]
            highest = max(known.highest, float(relevance[n].max()))
            near = (relevance[n] >= 0) & (relevance[n] >= share * highest)
            if not near.any() or (len(known.bank) and known.begun >= share * highest):
                known.highest = highest
                trying.remove(n)
            else:
                remembered[n] = Remembered(highest=highest)
                anchors[n, near.argmax()] = True
        missed = write(anchors)
        relevance[missed] = -1.0  # the next most certain frame, then
        for n, at in zip(*np.nonzero(anchors & ~missed), strict=True):
            trying.remove(n)
            begun[n, at], restarted[n] = True, len(former[n].bank) > 0
            # Without M+ frames that must wait, M- frames need no second reading.
            first[n] = at if restarted[n] or language[n, :at].any() else 0
    before = np.arange(shape[1]) < first[:, None]
    # Without a bank all M+ frames have been tried.
    known = np.array([len(one.bank) > 0 for one in remembered])[:, None]
    return MemoryStart(before, ~before & known, begun, restarted)
