"""What an object can do: motion primitives as a change of pose over an interval of frames.

A primitive over frames [s, e] (inclusive) leaves the pose of frame s where it was and reaches its
end at frame e: every frame of the interval differs from a neighbour in it, no frame outside moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tgl_e2e.data.nouns import listed

from .shapes import can_roll, visible_rotation

# The order is fixed for ever: per-frame motion labels are indices into this tuple.
MOTIONS = listed(
    "resting,moving left,moving right,moving up,moving down,jumping,falling,spinning,rolling,"
    "growing,shrinking,shaking,circling,stopping,entering,leaving,approaching,following",
    ",",
)
EASY_MOTIONS = MOTIONS[1:5]
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

# Motions that carry an object from one place to another.
TRAVELLING = (*EASY_MOTIONS, "rolling", "entering", "leaving", "approaching", "following")
WITH_PARTNER = ("approaching", "following")

SLOWEST = 0.0125  # of the frame side per frame: slower than this is hard to see at small sizes
SHORTEST, FARTHEST = 0.2, 0.5  # of the frame side: how far a directional move goes
GROWTH = {"growing": (1.6, 1.9), "shrinking": (0.48, 0.6)}  # factor over the whole motion
MIN_FRAMES = 8


@dataclass(frozen=True)
class Move:
    """A primitive of L frames, each (L,): offsets (frame sides), growth factor, turn (radians)."""

    dx: np.ndarray
    dy: np.ndarray
    grow: np.ndarray
    turn: np.ndarray


def frame_limits(num_frames: int) -> tuple[int, int]:
    """Shortest and longest interval of one motion in a video of so many frames."""
    low = max(MIN_FRAMES, int(np.ceil(0.15 * num_frames)))
    # No directional move may have to be slower than SLOWEST to stay within FARTHEST.
    high = min(int(0.4 * num_frames), int(FARTHEST / SLOWEST))
    return low, max(low, high)


def possible(motion: str, shape: str, fill: str, size: str) -> bool:
    """Whether the motion of such an object could be seen for what it is."""
    if motion == "spinning":
        return visible_rotation(shape, fill)
    if motion == "rolling":
        return can_roll(shape, fill)
    return (motion, size) not in (("growing", "big"), ("shrinking", "small"))


def draw_move(
    motion: str, length: int, radius: float, direction: str | None, rng: np.random.Generator
) -> Move:
    """Draws one primitive.

    `radius` in frame sides; `direction` of those that have one ("left": towards the left). Of
    approaching and following the layout decides the way, see `straight`.
    """
    u = np.arange(length) / (length - 1)
    still = straight(np.zeros(2), length)
    if motion in (*EASY_MOTIONS, "rolling", "entering", "leaving"):
        distance = travel(length, rng)
        if motion in ("entering", "leaving"):
            distance = max(distance, 2.6 * radius)
        move = straight(np.multiply(DIRECTIONS[direction], distance), length)
        # rolls without slipping
        return replace(move, turn=move.dx / radius) if motion == "rolling" else move
    if motion == "jumping":
        hops = max(2, round(length / rng.uniform(6.5, 9.0)))
        phase = u * hops % 1.0
        return replace(still, dy=-rng.uniform(0.13, 0.2) * 4 * phase * (1 - phase))
    if motion == "falling":
        return replace(still, dy=rng.uniform(0.35, 0.6) * _drop(u))
    if motion == "spinning":
        # Whole turns, so that drawn things end upright; at most 24 degrees a frame.
        turns = max(1, round(length * 15 / 360))
        return replace(still, turn=rng.choice((-1, 1)) * 2 * np.pi * turns * u)
    if motion in ("growing", "shrinking"):
        return replace(still, grow=rng.uniform(*GROWTH[motion]) ** u)
    if motion == "shaking":
        swings = max(2, round(length / rng.uniform(3.4, 4.6)))
        return replace(still, dx=rng.uniform(0.03, 0.045) * np.sin(2 * np.pi * swings * u))
    if motion == "circling":
        turns = max(1, round(length / rng.uniform(16, 22)))
        radius, start = rng.uniform(0.09, 0.14), rng.uniform(0, 2 * np.pi)
        angle = start + rng.choice((-1, 1)) * 2 * np.pi * turns * u
        dx, dy = np.cos(angle) - np.cos(start), np.sin(angle) - np.sin(start)
        return replace(still, dx=radius * dx, dy=radius * dy)
    assert motion == "stopping", motion
    return still


def straight(displacement: np.ndarray, length: int) -> Move:
    """A straight move by `displacement` (2,) at constant speed."""
    u = np.arange(length) / (length - 1)
    zero = np.zeros(length)
    return Move(displacement[0] * u, displacement[1] * u, np.ones(length), zero)


def travel(length: int, rng: np.random.Generator) -> float:
    """How far a directional move of so many frames goes, in frame sides."""
    low = max(SHORTEST, SLOWEST * (length - 1))
    return rng.uniform(low, max(low, min(FARTHEST, 0.035 * length)))


def _drop(u: np.ndarray) -> np.ndarray:
    """Free fall from 0 to the ground at 1, which a bounce follows."""
    landed = 0.7
    phase = np.clip((u - landed) / (1 - landed), 0, 1)
    return np.where(u < landed, (u / landed) ** 2, 1 - 0.18 * 4 * phase * (1 - phase))
