"""When and where: gives every planned motion its frames and every object its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .describe import overlaps, pauses
from .motions import DIRECTIONS, Move, draw_move, frame_limits, straight, travel
from .scene import Plan, Retry, SceneObject, Segment, Setting
from .shapes import RADIUS, RGB

# Share of the radius by which a centre stays inside the frame: keeps more than 60 % of the area in.
INSET = 0.75
OUTSIDE = 1.3  # radii beyond the edge: no outline reaches farther than this
FOLLOW_LAG = 2  # frames between leader and follower
CANDIDATES = 16  # places tried for one path
PATIENCE = 4  # paths tried for one object


def lay_out(
    setting: Setting,
    plans: Sequence[Plan],
    num_frames: int,
    rng: np.random.Generator,
    radius: Mapping[str, tuple[float, float]] = RADIUS,
) -> tuple[tuple[SceneObject, ...], int]:
    """The objects of the plans in depth order, and the place of the first plan's among them.

    Raises Retry if they find no room."""
    # Depth is independent of who is the target.
    order = rng.permutation(len(plans))
    position = np.argsort(order)
    radii = [rng.uniform(*radius[plan.look.size]) for plan in plans]
    placed: dict[int, SceneObject] = {}
    # Who approaches or follows needs the other's path first.
    later = [any(step.partner is not None for step in plan.steps) for plan in plans]
    for i in sorted(range(len(plans)), key=later.__getitem__):
        for _ in range(PATIENCE):  # other times and ways, if the first find no room
            try:
                placed[i] = _lay_one(plans[i], radii[i], num_frames, placed, rng)
                break
            except Retry:
                continue
        else:
            raise Retry
    objects = []
    for i in order:  # partners have their numbers in this order
        own = placed[i].segments if setting.easy else pauses(placed[i].segments)
        others = [None if s.partner is None else int(position[s.partner]) for s in own]
        segments = [replace(s, partner=p) for s, p in zip(own, others, strict=True)]
        objects.append(replace(placed[i], segments=tuple(segments)))
    return tuple(objects), int(position[0])


def _lay_one(
    plan: Plan,
    radius: float,
    num_frames: int,
    placed: dict[int, SceneObject],
    rng: np.random.Generator,
) -> SceneObject:
    segments = _timeline(plan.steps, num_frames, placed, rng)
    moves, anchor = [], None
    for segment in segments:
        length = segment.end - segment.start + 1
        if segment.partner is None:
            moves.append(draw_move(segment.motion, length, radius, segment.direction, rng))
        else:
            move, position = _towards(segment, radius, placed[segment.partner], rng)
            moves.append(move)
            anchor = (segment.start, position)
    path, grow, turn = _path(segments, moves, num_frames)
    low, high = _bounds(segments, path, grow, radius)
    starts = low + (high - low) * rng.random((CANDIDATES, 2))
    if anchor is not None:
        starts = (anchor[1] - path[anchor[0]])[None]
        if (starts < low).any() or (starts > high).any():
            raise Retry
    look = plan.look
    where = _free(starts, path, segments, radius * grow, look.colour, placed)
    tilt = 0.0 if look.shape in ("car", "tree") else rng.uniform(-0.2, 0.2)
    shade = np.add(RGB[look.colour], rng.integers(-8, 9, 3)).clip(0, 255)
    return SceneObject(
        **vars(look),
        segments=tuple(segments),
        x=where[:, 0],
        y=where[:, 1],
        scale=radius * grow,
        angle=tilt + turn,
        rgb=tuple(int(v) for v in shade),
    )


def _timeline(
    steps: Sequence[Segment],
    num_frames: int,
    placed: dict[int, SceneObject],
    rng: np.random.Generator,
) -> list[Segment]:
    """Intervals for the steps, in their order, with random rests around them."""
    if not steps:
        return []
    if steps[0].motion == "following":
        leader = next(s for s in placed[steps[0].partner].segments if s.direction is not None)
        start, end = leader.start + FOLLOW_LAG, leader.end + FOLLOW_LAG
        if end >= num_frames:
            raise Retry
        return [Segment("following", start, end, leader.direction, steps[0].partner)]
    low, high = frame_limits(num_frames)
    lengths = rng.integers(low, high + 1, len(steps))
    # A pause lies directly between its neighbours; all else keeps a little distance.
    tight = np.array(["stopping" in (a.motion, b.motion) for a, b in pairwise(steps)], bool)
    rests = np.concatenate([[0], np.where(tight, 0, 3), [0]]).astype(int)
    if lengths.sum() + rests.sum() > num_frames:
        lengths[:] = low
    spare = num_frames - lengths.sum() - rests.sum()
    if spare < 0:
        raise Retry
    weights = rng.exponential(size=len(rests)) * np.concatenate([[1], ~tight, [1]])
    rests = rests + rng.multinomial(spare, weights / weights.sum())
    segments, now = [], 0
    for step, length, rest in zip(steps, lengths, rests[:-1], strict=True):
        start, now = now + int(rest), now + int(rest) + int(length)
        segments.append(replace(step, start=start, end=now - 1))
    return segments


def _towards(
    segment: Segment, radius: float, partner: SceneObject, rng: np.random.Generator
) -> tuple[Move, np.ndarray]:
    """The move towards or behind a partner, and where it starts (2,)."""
    length = segment.end - segment.start + 1
    there = np.stack([partner.x, partner.y], 1)
    gap = 1.15 * (radius + partner.scale.max())
    if segment.motion == "following":
        leader = next(s for s in partner.segments if s.direction == segment.direction)
        way = there[leader.end] - there[leader.start]
        behind = gap * np.array(DIRECTIONS[segment.direction])
        return straight(way, length), there[leader.start] - behind
    if any(overlaps(s, segment.start, segment.end) for s in partner.segments):
        raise Retry
    centre, distance = there[segment.start], travel(length, rng)
    for angle in rng.uniform(0, 2 * np.pi, 12):
        ray = np.array([np.cos(angle), np.sin(angle)])
        start = centre + (gap + distance) * ray
        if (np.abs(start - 0.5) < 0.5 - INSET * radius).all():
            return straight(-distance * ray, length), start
    raise Retry


def _path(
    segments: Sequence[Segment], moves: Sequence[Move], num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position relative to the first frame (T, 2), growth (T,), turn (T,)."""
    path, grow, turn = np.zeros((num_frames, 2)), np.ones(num_frames), np.zeros(num_frames)
    for segment, move in zip(segments, moves, strict=True):
        offset = np.stack([move.dx, move.dy], 1)
        inside, after = slice(segment.start, segment.end + 1), slice(segment.end + 1, None)
        for frames, share in ((inside, slice(None)), (after, -1)):
            path[frames] += offset[share]
            grow[frames] *= move.grow[share]
            turn[frames] += move.turn[share]
    return path, grow, turn


def _bounds(
    segments: Sequence[Segment], path: np.ndarray, grow: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest position (2,) at the first frame with the whole path inside the frame."""
    seen = np.ones(len(path), bool)
    for segment in segments:
        if segment.motion == "entering":
            seen[: segment.end] = False
        if segment.motion == "leaving":
            seen[segment.start + 1 :] = False
    inset = INSET * radius * grow[:, None]
    low = (inset - path)[seen].max(0)
    high = (1 - inset - path)[seen].min(0)
    for segment in segments:
        if segment.motion == "falling":
            low[1] = max(low[1], 0.62 - path[segment.end, 1])  # there is ground to land on
        if segment.motion in ("entering", "leaving"):
            # The far end of the way lies just outside the edge that it crosses.
            way = np.array(DIRECTIONS[segment.direction])
            axis, outwards = int(way[0] == 0), way.sum()
            frame = segment.end
            if segment.motion == "entering":
                outwards, frame = -outwards, segment.start
            beyond = OUTSIDE * radius * grow[frame]
            at = (1 + beyond if outwards > 0 else -beyond) - path[frame, axis]
            if not low[axis] <= at <= high[axis]:
                raise Retry
            low[axis] = high[axis] = at
    if (low > high).any():
        raise Retry
    return low, high


def _free(
    starts: np.ndarray,
    path: np.ndarray,
    segments: Sequence[Segment],
    radius: np.ndarray,
    colour: str,
    placed: dict[int, SceneObject],
) -> np.ndarray:
    """Positions (T, 2): the path (T, 2) from the first start (N, 2) that keeps clear of others.

    Objects of one colour keep a greater distance, or nobody could tell where one of them ends.
    """
    tracks = starts[:, None] + path  # (N, T, 2)
    fine = np.ones(len(starts), bool)
    for other in placed.values():
        distance = np.hypot(tracks[..., 0] - other.x, tracks[..., 1] - other.y)  # (N, T)
        closeness = distance / (radius + other.scale)
        over = closeness < (0.8 if other.colour == colour else 0.6)
        fine &= (closeness[:, 0] > 1) & (over.mean(1) < 0.15) & (closeness.min(1) > 0.15)
        # Nobody stays hidden while doing what may be asked for.
        for segment in (*segments, *other.segments):
            fine &= over[:, segment.start : segment.end + 1].mean(1) < 0.3
    if not fine.any():
        raise Retry
    return tracks[np.argmax(fine)]
