"""Which frames a training clip is made of, and which objects it is supervised with.

Pure functions: all randomness comes from the generator ``rng`` that is passed in, so that a sample
is a function of (seed, epoch, index) alone, whatever worker draws it. ``relevant`` is always M+,
(T_V,) bool; ``moment_sampling=False`` ignores it (ablation). ValueError: it is of another shape, or
a number of frames is less than 1.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tgl_e2e.moments import inside

ObjectId = TypeVar("ObjectId", bound=Hashable)


def choose_stretch(
    relevant: np.ndarray, block: int, rng: np.random.Generator, moment_sampling: bool = True
) -> tuple[int, int]:
    """Chooses the stretch of consecutive frames that a clip is drawn from.

    With moment sampling the stretch holds a random frame of M+ at a random place; without it (or
    without any M+: a no-target expression) it lies anywhere. It is never longer than what the
    network sees of a video at once in inference, so that both see the same time spans.

    Returns:
        (start, end), end exclusive; end - start = min(block, T_V).
    """
    relevant = _checked(relevant, 1, block)
    length = min(block, relevant.size)
    first, last = 0, relevant.size - length  # of the places where a stretch may start
    moment = np.flatnonzero(relevant)
    if moment_sampling and moment.size:
        anchor = int(moment[rng.integers(moment.size)])
        first, last = max(first, anchor - length + 1), min(last, anchor)
    start = int(rng.integers(first, last + 1))
    return start, start + length


def sample_in_stretch(
    relevant: np.ndarray,
    stretch: tuple[int, int],
    num_frames: int,
    rng: np.random.Generator,
    moment_sampling: bool = True,
) -> np.ndarray:
    """Draws the frames of a clip from one stretch: half from its M+, the rest from all of it.

    No frame comes twice unless the stretch is shorter than the clip; then every frame comes at
    least once. Where the stretch holds fewer M+ frames than half the clip, all of them are taken
    (and repeated only in a stretch shorter than the clip).

    Args:
        stretch: (start, end), end exclusive, inside the video.

    Returns:
        (num_frames,) int64 frame positions, ascending.
    """
    relevant = _checked(relevant, num_frames)
    start, end = stretch
    if not 0 <= start < end <= relevant.size:
        raise ValueError(f"stretch {stretch} does not lie in a video of {relevant.size} frames")
    frames = np.arange(start, end)
    moment = frames[relevant[start:end]] if moment_sampling else frames[:0]
    half = (num_frames + 1) // 2  # rounded up: a clip of one frame is a frame of M+

    if frames.size >= num_frames:
        chosen = rng.choice(moment, size=min(half, moment.size), replace=False)
        others = np.setdiff1d(frames, chosen, assume_unique=True)
        rest = rng.choice(others, size=num_frames - chosen.size, replace=False)
        return np.sort(np.concatenate([chosen, rest]))

    repeats = num_frames - frames.size
    from_moment = min(repeats, max(0, half - moment.size)) if moment.size else 0
    again = rng.choice(moment, size=from_moment) if from_moment else moment
    more = rng.choice(frames, size=repeats - from_moment)
    return np.sort(np.concatenate([frames, again[:from_moment], more]))


def sample_evenly(
    relevant: np.ndarray,
    num_frames: int,
    block: int,
    rng: np.random.Generator,
    moment_sampling: bool = True,
    neighbours: bool = False,
) -> tuple[tuple[int, int], np.ndarray]:
    """Draws a clip of evenly spaced frames, at least half of it in M+ if that can be.

    Frames drawn one by one crowd where M+ is, and the times between them give the moments away: on
    `motion` the distance to a frame's neighbours alone ranks the frames of such clips as well as a
    trained TAM did, which was at a loss where frames lie evenly apart, as in inference.

    Args:
        block: longest stretch that a clip is drawn from, in frames.
        neighbours: no spacing but 1.

    Returns:
        (start, end) of the stretch, end exclusive, of min(block, T_V) frames, and (num_frames,)
        int64 frame positions in it, ascending. The clip goes through a random frame of M+, with
        half of the frames in M+ and each other frame as often as chance has it, or at one of the
        places and spacings that come nearest: inside a long moment all of it is M+.
        Where the stretch is shorter than the clip, frames come again (see sample_in_stretch).
    """
    relevant = _checked(relevant, num_frames, block)
    length = min(block, relevant.size)
    if num_frames == 1 or length < num_frames:
        stretch = choose_stretch(relevant, block, rng, moment_sampling)
        return stretch, sample_in_stretch(relevant, stretch, num_frames, rng, moment_sampling)
    moment = np.flatnonzero(relevant)
    guided = moment_sampling and moment.size > 0
    anchor = int(moment[rng.integers(moment.size)]) if guided else None
    clips = []  # by spacing
    widest = 1 if neighbours else (length - 1) // (num_frames - 1)
    for spacing in range(1, widest + 1):
        steps = spacing * np.arange(num_frames)
        firsts = np.arange(relevant.size - steps[-1]) if anchor is None else anchor - steps[::-1]
        firsts = firsts[(firsts >= 0) & (firsts + steps[-1] < relevant.size)]
        clips.append(firsts[:, None] + steps)
    if guided:
        # Half from M+; of the others each may be, as often as chance has it.
        half = (num_frames + 1) // 2
        wanted = half + rng.binomial(num_frames - half, relevant.mean())
        counts = [relevant[clip].sum(axis=1) for clip in clips]
        amiss = [np.abs(count - wanted) for count in counts]
        allowed = min(off.min() for off in amiss if off.size)
        clips = [clip[off <= allowed] for clip, off in zip(clips, amiss, strict=True)]
        clips = [clip for clip in clips if len(clip)]
    fitting = clips[rng.integers(len(clips))]
    clip = fitting[rng.integers(len(fitting))]
    first, last = max(0, clip[-1] + 1 - length), min(clip[0], relevant.size - length)
    start = int(rng.integers(first, last + 1))
    return (start, start + length), clip


def select_objects(
    moments: Mapping[ObjectId, Sequence[tuple[int, int]]], indices: Iterable[int]
) -> list[ObjectId]:
    """Object-level selective supervision (paper Eq. 6): which objects a clip is supervised with.

    Args:
        moments: per object its moments M_i: (start, end) frame positions, inclusive.
        indices: the sampled frame positions, T.

    Returns:
        The objects i with T and M_i overlapping, in the order of `moments`. All their masks in
        the clip count, in frames outside M_i too.
    """
    sampled = np.asarray(list(indices), dtype=np.int64)
    return [obj for obj, intervals in moments.items() if inside(sampled, intervals).any()]


def _checked(relevant: np.ndarray, num_frames: int, block: int = 1) -> np.ndarray:
    if num_frames < 1 or block < 1:
        raise ValueError(f"num_frames {num_frames} and block {block} must be at least 1")
    relevant = np.asarray(relevant, dtype=bool)
    if relevant.ndim != 1 or relevant.size == 0:
        raise ValueError(f"relevant must be (T_V,) with T_V >= 1, got shape {relevant.shape}")
    return relevant
