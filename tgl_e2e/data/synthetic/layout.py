"""When and where: gives every planned motion its frames and every object its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from .cast import Plan, Retry, Setting
from .describe import overlaps, pauses
from .motions import DIRECTIONS, Move, draw_move, frame_limits, straight, travel
from .scene import SceneObject, Segment
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
) -> list[SceneObject]:
    """The objects of the plans, in the same order. Raises Retry if they find no room."""
    radii = [rng.uniform(*radius[plan.look.size]) for plan in plans]
    placed: dict[int, SceneObject] = {}
    followers = [
        i for i, plan in enumerate(plans) if any(s.partner is not None for s in plan.steps)
    ]
    # Who approaches or follows needs the other's path first.
    for i in [i for i in range(len(plans)) if i not in followers] + followers:
        placed[i] = _lay_patiently(plans[i], radii[i], num_frames, placed, rng)
    objects = [placed[i] for i in range(len(plans))]
    if not setting.easy:  # level easy knows no word for a pause
        objects = [replace(thing, segments=tuple(pauses(thing.segments))) for thing in objects]
    return objects


def _lay_patiently(
    plan: Plan,
    radius: float,
    num_frames: int,
    placed: dict[int, SceneObject],
    rng: np.random.Generator,
) -> SceneObject:
    """`_lay_one`, with other times and ways if the first find no room beside the others."""
    for _ in range(PATIENCE):
        try:
            return _lay_one(plan, radius, num_frames, placed, rng)
        except Retry:
            continue
    raise Retry


def _lay_one(
    plan: Plan,
    radius: float,
    num_frames: int,
    placed: dict[int, SceneObject],
    rng: np.random.Generator,
) -> SceneObject:
    segments = _timeline(plan, num_frames, placed, rng)
    moves, anchor = [], None
    for segment in segments:
        length = segment.end - segment.start + 1
        if segment.partner is None:
            moves.append(draw_move(segment.motion, length, radius, segment.direction, rng))
            continue
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
    where = _free(starts, path, segments, radius * grow, plan.look.colour, placed)
    tilt = 0.0 if plan.look.shape in ("car", "tree") else rng.uniform(-0.2, 0.2)
    shade = np.add(RGB[plan.look.colour], rng.integers(-8, 9, 3)).clip(0, 255)
    return SceneObject(
        plan.look.shape,
        plan.look.colour,
        plan.look.fill,
        plan.look.size,
        tuple(segments),
        x=where[:, 0],
        y=where[:, 1],
        scale=radius * grow,
        angle=tilt + turn,
        rgb=tuple(int(v) for v in shade),
    )


def _timeline(
    plan: Plan, num_frames: int, placed: dict[int, SceneObject], rng: np.random.Generator
) -> list[Segment]:
    """Intervals for the steps, in their order, with random rests around them."""
    steps = plan.steps
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
        now += int(rest)
        segments.append(
            Segment(step.motion, now, now + int(length) - 1, step.direction, step.partner)
        )
        now += int(length)
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
        inside, after = slice(segment.start, segment.end + 1), slice(segment.end + 1, None)
        offset = np.stack([move.dx, move.dy], 1)
        path[inside] += offset
        path[after] += offset[-1]
        grow[inside] *= move.grow
        grow[after] *= move.grow[-1]
        turn[inside] += move.turn
        turn[after] += move.turn[-1]
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
            edge = (
                1 + OUTSIDE * radius * grow[frame]
                if outwards > 0
                else -OUTSIDE * radius * grow[frame]
            )
            at = edge - path[frame, axis]
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
