"""Scenes: deterministic, exact in time, as difficult as asked for."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tgl_e2e.data.synthetic import (
    COLOURS,
    KINDS,
    LEVELS,
    MOTIONS,
    SHAPES,
    SPLITS,
    held_out,
    make_scene,
)
from tgl_e2e.data.synthetic.motions import DIRECTIONS, MIN_FRAMES
from tgl_e2e.data.synthetic.shapes import can_roll, visible_rotation

SEEDS = range(200)


@pytest.fixture(scope="module")
def scenes():
    """200 scenes of every level for train-like splits, 60 of `valid`."""
    counts = {"train": 60, "valid_u": 200, "valid": 60}
    return {
        (level, split): [make_scene(seed, level, split) for seed in range(counts[split])]
        for level in LEVELS
        for split in SPLITS
    }


def everything(scene) -> tuple:
    """A scene as something that can be compared."""
    things = [
        (
            *vars(replace(o, x=0, y=0, scale=0, angle=0)).values(),
            *(getattr(o, name).tobytes() for name in ("x", "y", "scale", "angle")),
        )
        for o in scene.objects
    ]
    return scene.num_frames, things, scene.expressions, scene.background


@pytest.mark.parametrize("options", [{}, {"cue": "shape"}, {"static": True}, {"num_frames": 40}])
def test_a_seed_says_it_all(options):
    for level in LEVELS:
        first = make_scene(5, level, **options)
        assert everything(first) == everything(make_scene(5, level, **options))
        assert everything(first) != everything(make_scene(6, level, **options))


def test_splits_share_no_scene():
    starts = [[make_scene(s, "easy", split).objects[0].x[0] for s in range(30)] for split in SPLITS]
    assert len(set(np.ravel(starts))) == 90


def test_frames_of_a_motion_are_those_in_which_the_pose_changes(scenes):
    seen = Counter()
    for scene in [s for group in scenes.values() for s in group[:60]]:
        for thing in scene.objects:
            pose = np.stack([thing.x, thing.y, thing.scale, thing.angle], 1)
            changes = (np.abs(np.diff(pose, axis=0)) > 1e-12).any(1)
            moving = np.concatenate([[False], changes]) | np.concatenate([changes, [False]])
            still = np.isin(thing.motions(), [0, MOTIONS.index("stopping")])
            assert (moving == ~still).all(), thing.segments
            ends = [-1] + [segment.end for segment in thing.segments]
            for segment, before in zip(thing.segments, ends, strict=False):
                seen[segment.motion] += 1
                assert before < segment.start <= segment.end < scene.num_frames
                if segment.motion != "stopping":
                    assert segment.end - segment.start + 1 >= MIN_FRAMES
    assert set(seen) == set(MOTIONS[1:])


def test_direction_and_speed_of_directional_motions(scenes):
    for scene in [s for group in scenes.values() for s in group[:60]]:
        for thing in scene.objects:
            for segment in thing.segments:
                if segment.direction is None:
                    continue
                frames = slice(segment.start, segment.end + 1)
                steps = np.stack([np.diff(thing.x[frames]), np.diff(thing.y[frames])], 1)
                forward = steps @ DIRECTIONS[segment.direction]
                assert (forward >= 0.0099).all()
                assert np.allclose(np.hypot(*steps.T), forward)
                if segment.motion.startswith("moving"):
                    assert 0.199 < forward.sum() < 0.501
                if segment.motion == "rolling":
                    assert np.ptp(thing.angle[frames]) > 0.9


def test_motions_can_be_seen_for_what_they_are(scenes):
    for scene in [s for group in scenes.values() for s in group[:60]]:
        for thing in scene.objects:
            for segment in thing.segments:
                scale = thing.scale[[segment.start, segment.end]]
                if segment.motion == "spinning":
                    assert visible_rotation(thing.shape, thing.fill)
                elif segment.motion == "rolling":
                    assert can_roll(thing.shape, thing.fill)
                elif segment.motion == "growing":
                    assert scale[1] > 1.5 * scale[0]
                elif segment.motion == "shrinking":
                    assert scale[1] < 0.65 * scale[0]
                elif segment.motion == "falling":
                    assert thing.y[segment.end] > 0.6
                elif segment.motion in ("approaching", "following"):
                    partner = scene.objects[segment.partner]
                    gap = np.hypot(thing.x - partner.x, thing.y - partner.y)
                    closer = gap[segment.start] - gap[segment.end]
                    assert closer > 0.15 if segment.motion == "approaching" else abs(closer) < 0.2


def test_objects_stay_in_the_frame(scenes):
    for scene in [s for group in scenes.values() for s in group[:60]]:
        for thing in scene.objects:
            if {s.motion for s in thing.segments} & {"entering", "leaving"}:
                continue
            for centre in (thing.x, thing.y):
                assert (centre >= 0.74 * thing.scale).all()
                assert (centre <= 1 - 0.74 * thing.scale).all()


def test_moments_are_those_of_the_objects(scenes):
    for scene in [s for group in scenes.values() for s in group]:
        assert 1 <= len(scene.expressions) <= 6
        assert len({e.text for e in scene.expressions}) == len(scene.expressions)
        for expression in scene.expressions:
            assert expression.text == expression.text.lower()
            assert expression.kind in KINDS
            assert expression.objects == tuple(expression.moments)
            assert (expression.kind == "no_target") == (not expression.objects)
            for index, spans in expression.moments.items():
                own = {(s.start, s.end) for s in scene.objects[index].segments}
                assert spans and set(spans) <= own
            if expression.kind == "compound":
                assert all(len(spans) >= 2 for spans in expression.moments.values())
            if expression.kind == "several":
                assert len({str(spans) for spans in expression.moments.values()}) > 1


def test_share_of_relevant_frames(scenes):
    for scene in [s for group in scenes.values() for s in group]:
        for expression in scene.expressions:
            if expression.objects:
                assert 0.15 <= scene.relevant(expression).mean() <= 0.6


def test_kinds_have_their_shares(scenes):
    told = {
        level: [e for scene in scenes[level, "valid_u"] for e in scene.expressions]
        for level in LEVELS
    }
    share = {
        level: {kind: sum(e.kind == kind for e in group) / len(group) for kind in KINDS}
        for level, group in told.items()
    }
    assert share["full"]["several"] >= 0.2
    assert share["full"]["compound"] > 0.08
    assert share["full"]["motion"] > 0.08
    assert share["easy"]["several"] >= 0.2
    assert share["medium"]["compound"] > 0.05
    for level in LEVELS:
        assert 0.02 < share[level]["no_target"] < 0.09
        assert share[level]["appearance"] == 0
    for level, low, high in (("easy", 0.35, 0.65), ("medium", 0.15, 0.4)):
        assert low < np.mean([e.appearance_decides for e in told[level]]) < high


@pytest.mark.parametrize("split", ["valid_u", "valid"])
def test_appearance_rarely_decides_at_full(scenes, split):
    decided = [e.appearance_decides for s in scenes["full", split] for e in s.expressions]
    assert np.mean(decided) < 0.2


def test_levels_and_splits_have_their_extent(scenes):
    for scene in scenes["easy", "valid_u"]:
        assert 2 <= len(scene.objects) <= 4 and 24 <= scene.num_frames <= 48
        assert all(o.shape in SHAPES[:6] and o.fill == "plain" for o in scene.objects)
        assert {s.motion for o in scene.objects for s in o.segments} <= set(MOTIONS[1:5])
    for scene in scenes["medium", "valid_u"]:  # simple scenes in which everything may happen
        assert 2 <= len(scene.objects) <= 4 and 24 <= scene.num_frames <= 96
        assert all(o.shape in SHAPES[:6] and o.fill == "plain" for o in scene.objects)
        assert scene.background.kind in ("plain", "gradient")
    medium = [o for s in scenes["medium", "valid_u"] for o in s.objects]
    assert {s.motion for o in medium for s in o.segments} == set(MOTIONS[1:])
    for scene in scenes["full", "valid_u"]:
        assert 2 <= len(scene.objects) <= 7 and 24 <= scene.num_frames <= 96
    for scene in scenes["full", "valid"]:
        assert 4 <= len(scene.objects) <= 7 and 64 <= scene.num_frames <= 96
    things = [o for s in scenes["full", "valid_u"] for o in s.objects]
    assert {o.shape for o in things} == set(SHAPES)
    assert {o.colour for o in things} == set(COLOURS)


def test_held_out_pairs_are_for_valid_alone(scenes):
    def pairs(thing):
        for segment in thing.segments:
            yield held_out(segment.motion, thing.colour, thing.shape)
            if segment.motion == "rolling":
                yield held_out(f"moving {segment.direction}", thing.colour, thing.shape)

    for level in LEVELS:
        for split in ("train", "valid_u"):
            for scene in scenes[level, split]:
                assert not any(any(pairs(thing)) for thing in scene.objects)
        for scene in scenes[level, "valid"]:
            primary = scene.expressions[0]
            if primary.objects:
                assert any(any(pairs(scene.objects[i])) for i in primary.objects)
    table = [held_out(m, colour=c) for m in MOTIONS[1:] for c in COLOURS]
    assert 0.1 < np.mean(table) < 0.2
    table = [held_out(m, shape=s) for m in MOTIONS[1:] for s in SHAPES]
    assert 0.1 < np.mean(table) < 0.2


@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cue", ["colour", "shape", "fill", "size", "place", "motion"])
def test_the_cue_is_necessary(cue, level, static):
    if (cue == "fill" and level != "full") or (cue == "motion" and static):
        with pytest.raises(ValueError, match=cue):
            make_scene(1, level, cue=cue, static=static)
        return
    for seed in range(12):
        scene = make_scene(seed, level, cue=cue, static=static)
        primary = scene.expressions[0]
        assert cue in primary.cues
        target = scene.objects[primary.objects[0]]
        others = [o for i, o in enumerate(scene.objects) if i not in primary.objects]
        assert others
        attributes = ("colour", "shape", "fill", "size")
        alike = [
            o
            for o in others
            if all(getattr(o, a) == getattr(target, a) for a in attributes if a != cue)
        ]
        if cue == "place":
            assert alike
        elif cue == "motion":
            starts = [start for start, _ in primary.moments[primary.objects[0]]]
            asked = {MOTIONS[n] for n in target.motions()[starts]}
            assert any(not asked & {s.motion for s in o.segments} for o in alike)
        else:
            assert any(getattr(o, cue) != getattr(target, cue) for o in alike)
            if static:
                assert len(alike) == len(others)


def test_static_scenes():
    plural = 0
    for seed in range(40):
        scene = make_scene(seed, "full", static=True, num_frames=1)
        assert scene.num_frames == 1 and not any(o.segments for o in scene.objects)
        for expression in scene.expressions:
            assert expression.kind == "appearance" and expression.appearance_decides
            assert "motion" not in expression.cues
            assert scene.relevant(expression).all()
            plural += len(expression.objects) > 1
    assert plural


def test_vocabulary_is_small(scenes):
    texts = [e.text for group in scenes.values() for s in group for e in s.expressions]
    assert len({word for text in texts for word in text.replace(",", "").split()}) < 400


@pytest.mark.parametrize(
    "options", [{"level": "hard"}, {"split": "test"}, {"cue": "smell"}, {"num_frames": 8}]
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        make_scene(0, **options)
