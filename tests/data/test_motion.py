"""Training clips: pure functions of (seed, index); targets agree with the scene."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tgl_e2e.data.clips import ClipOptions, collate
from tgl_e2e.data.motion import MotionClips, draw_clip
from tgl_e2e.data.synthetic import COLOURS, MOTIONS, SHAPES, absent_expression, make_scene, render

OPTIONS = ClipOptions(uniform_share=0.5, full_share=0.3, cues={"mixed": 0.5, "motion": 0.5})


def same(a, b) -> bool:
    for item in dataclasses.fields(a):
        x, y = getattr(a, item.name), getattr(b, item.name)
        if isinstance(x, dict):
            if any(not torch.equal(x[name], y[name]) for name in x):
                return False
        elif isinstance(x, torch.Tensor):
            if not torch.equal(x, y):
                return False
        elif x != y:
            return False
    return True


def test_a_sample_depends_on_seed_and_index_alone():
    clips = MotionClips(OPTIONS, length=20, seed=3)
    forwards = [clips[i] for i in range(8)]
    again = MotionClips(OPTIONS, length=20, seed=3)
    backwards = [again[i] for i in reversed(range(8))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], again[1])
    assert not same(forwards[0], MotionClips(OPTIONS, length=20, seed=4)[0])


def test_workers_do_not_change_samples():
    clips = MotionClips(OPTIONS, length=6, seed=1)
    alone = list(DataLoader(clips, batch_size=2, collate_fn=collate))
    workers = list(DataLoader(clips, batch_size=2, collate_fn=collate, num_workers=2))
    assert all(same(a, b) for a, b in zip(alone, workers, strict=True))


def test_shapes_and_time():
    clips = MotionClips(OPTIONS, length=40, seed=2)
    for i in range(40):
        clip = clips[i]
        assert clip.frames.shape == (8, 3, 128, 128) and clip.frames.dtype == torch.uint8
        assert clip.target.shape == (8, 128, 128) and clip.relevant.shape == (8,)
        assert clip.labels["motion"].shape == (8, 32, 32)
        assert (clip.positions.diff() > 0).all()
        assert clip.positions.min() >= 0 and clip.positions.max() < OPTIONS.block


@pytest.mark.parametrize("even", [True, False])
def test_half_of_a_clip_is_relevant(even):
    options = dataclasses.replace(OPTIONS, uniform_share=0.0, even_spacing=even)
    clips = MotionClips(options, length=40, seed=2)
    drawn = [clips[i] for i in range(40)]
    targets = [clip for clip in drawn if clip.relevant.any()]
    counts = np.array([clip.relevant.sum() for clip in targets])
    assert len(targets) > 30 and (counts >= 3).all() and all(c.target.any() for c in targets)
    assert (counts >= 4).mean() > 0.8  # half, and of the rest what lies there
    assert all(len(set(clip.positions.diff().tolist())) == 1 for clip in drawn) == even
    assert not any(clip.target.any() for clip in drawn if not clip.relevant.any())


def test_windows_dealt_as_in_inference_meet_irrelevant_stretches_too():
    clips = MotionClips(dataclasses.replace(OPTIONS, uniform_share=1.0), length=60, seed=2)
    shares = np.array([clips[i].relevant.float().mean() for i in range(60)])
    assert (shares == 0).any() and (shares > 0.5).any()


def test_selective_supervision_drops_objects_whose_moment_is_not_in_the_clip():
    options = ClipOptions()
    for seed in range(200):
        scene = make_scene(seed, level="easy")
        several = [e for e in scene.expressions if e.kind == "several"]
        if several:
            break
    expression = several[0]
    first, second = expression.objects[:2]
    only_first = [
        t
        for s, e in expression.moments[first]
        for t in range(s, e + 1)
        if not any(a <= t <= b for a, b in expression.moments[second])
    ]
    frames = np.array(only_first[:2])
    ids = render(scene, frames.tolist(), 128).ids
    kept = draw_clip(scene, expression, frames, 0, options).target.numpy()
    everything = draw_clip(
        scene, expression, frames, 0, dataclasses.replace(options, selective=False)
    ).target.numpy()
    assert not (kept & (ids == second + 1)).any() and (kept & (ids == first + 1)).any()
    assert (everything == np.isin(ids, [o + 1 for o in expression.objects])).all()


def test_labels_say_what_the_scene_says():
    scene = make_scene(11, level="full")
    frames = np.arange(0, 16, 2)
    clip = draw_clip(scene, scene.expressions[0], frames, 0, ClipOptions())
    ids = render(scene, frames.tolist(), 128).ids[:, 2::4, 2::4]
    assert (clip.labels["object"].numpy() == (ids > 0)).all()
    for name in ("shape", "colour", "fill", "size", "motion"):
        assert (clip.labels[name].numpy()[ids == 0] == -1).all()
    for t, frame in enumerate(frames):
        for i, thing in enumerate(scene.objects):
            here = ids[t] == i + 1
            assert (clip.labels["shape"][t].numpy()[here] == SHAPES.index(thing.shape)).all()
            assert (clip.labels["colour"][t].numpy()[here] == COLOURS.index(thing.colour)).all()
            done = [s.motion for s in thing.segments if s.start <= frame <= s.end]
            motion = MOTIONS.index(done[0]) if done else 0
            assert (clip.labels["motion"][t].numpy()[here] == motion).all()


@pytest.mark.parametrize("cue", ["shape", "colour", "size", "place"])
def test_static_clips_are_relevant_throughout(cue):
    options = ClipOptions(num_frames=1, static=True, cues={cue: 1.0})
    clips = MotionClips(options, length=10, seed=0)
    for i in range(10):
        assert clips[i].relevant.all() and clips[i].target.any() and clips[i].cue == cue


def test_levels_come_in_their_shares():
    clips = MotionClips(ClipOptions(full_share=0.3, medium_share=0.4), length=60, seed=5)
    levels = [clips[i].cue.split("/")[0] for i in range(60)]
    counts = [levels.count(level) for level in ("full", "medium", "mixed")]
    assert sum(counts) == 60 and counts[0] > 8 and counts[1] > 14 and counts[2] > 8


def test_sentences_that_mean_nothing_come_in_their_share():
    options = ClipOptions(no_target_share=1.0, full_share=0.5, cues={"mixed": 0.5, "shape": 0.5})
    clips = MotionClips(options, length=30, seed=4)
    drawn = [clips[i] for i in range(30)]
    assert np.mean([clip.relevant.any().item() for clip in drawn]) < 0.1
    assert not any(clip.target.any() for clip in drawn if not clip.relevant.any())
    assert len({clip.text for clip in drawn}) > 20


def test_looks_alone_are_true_whatever_moves():
    options = ClipOptions(appearance_share=1.0, uniform_share=1.0)
    clips = MotionClips(options, length=30, seed=4)
    drawn = [clips[i] for i in range(30)]
    always = [clip for clip in drawn if clip.relevant.all() and clip.target.any()]
    assert len(always) > 20
    assert np.mean([(clip.labels["motion"] > 0).any().item() for clip in always]) > 0.5
    words = ("moving", "going", "sliding", "travel", "gliding", "heading")
    assert not any(word in clip.text for clip in always for word in words)


@pytest.mark.parametrize("static", [False, True])
def test_absent_expressions_are_near_misses(static):
    rng = np.random.default_rng(0)
    words = 0
    for seed in range(30):
        scene = make_scene(seed, level="easy", static=static)
        absent = absent_expression(scene, rng)
        if absent is None:
            continue
        assert not absent.objects and not scene.relevant(absent).any()
        assert absent.text not in [e.text for e in scene.expressions if e.objects]
        words += any(o.colour in absent.text or o.shape in absent.text for o in scene.objects)
    assert words > 10  # near: they name what is there
