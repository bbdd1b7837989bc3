"""Properties of clip sampling and of object-level selective supervision."""

import numpy as np
import pytest

from tgl_e2e.data.sampling import choose_stretch, sample_evenly, sample_in_stretch, select_objects


def sample_clip(relevant, num_frames, block, rng, moment_sampling=True) -> np.ndarray:
    """A clip as training draws it: a stretch, then its frames."""
    stretch = choose_stretch(relevant, block, rng, moment_sampling)
    return sample_in_stretch(relevant, stretch, num_frames, rng, moment_sampling)


def random_relevant(rng: np.random.Generator) -> np.ndarray:
    """A video of random length with up to three moments, at times none, at times all of it."""
    relevant = np.zeros(rng.integers(1, 120), dtype=bool)
    for _ in range(rng.integers(0, 4)):
        start = rng.integers(relevant.size)
        relevant[start : start + rng.integers(1, 40)] = True
    if rng.random() < 0.1:
        relevant[:] = True
    return relevant


def test_clip_properties():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        relevant = random_relevant(rng)
        num_frames, block = int(rng.integers(1, 13)), int(rng.integers(1, 65))
        clip = sample_clip(relevant, num_frames, block, rng)
        assert clip.shape == (num_frames,) and np.issubdtype(clip.dtype, np.integer)
        assert (np.diff(clip) >= 0).all()
        assert clip[0] >= 0 and clip[-1] < relevant.size
        assert clip[-1] - clip[0] < block
        stretch = min(block, relevant.size)
        if stretch >= num_frames:
            assert np.unique(clip).size == num_frames
        else:
            assert np.unique(clip).size == stretch
        if relevant.any():
            assert relevant[clip].any()


def test_half_comes_from_the_moment():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        relevant = random_relevant(rng)
        num_frames = int(rng.integers(1, 13))
        block = int(rng.integers(1, 65))
        start, end = choose_stretch(relevant, block, rng)
        assert end - start == min(block, relevant.size)
        available = int(relevant[start:end].sum())
        assert available >= 1 or not relevant.any()
        clip = sample_in_stretch(relevant, (start, end), num_frames, rng)
        assert start <= clip[0] and clip[-1] < end
        half = -(-num_frames // 2)
        if end - start >= num_frames:
            assert relevant[clip].sum() >= min(half, available)
        elif available:  # too short for the clip: moments repeat until they make up half of it
            assert relevant[clip].sum() >= min(half, available + num_frames - (end - start))


def test_every_frame_and_every_offset_can_come():
    relevant = np.zeros(40, dtype=bool)
    relevant[18:22] = True
    rng = np.random.default_rng(0)
    clips = [sample_clip(relevant, 4, 16, rng) for _ in range(2000)]
    seen = np.bincount(np.concatenate(clips), minlength=40)
    # A stretch of 16 around frames 18..21 reaches frames 3..36, and no others.
    assert (seen[3:37] > 0).all()
    assert not seen[:3].any() and not seen[37:].any()


def test_the_rest_comes_from_anywhere():
    """Half of 8 frames is drawn evenly from M+, the rest evenly from all that is left."""
    relevant = np.zeros(40, dtype=bool)
    relevant[10:20] = True
    rng = np.random.default_rng(0)
    seen = np.zeros(40)
    for _ in range(3000):
        seen[sample_in_stretch(relevant, (0, 40), 8, rng)] += 1 / 3000
    # 4 of the 10 in M+, then 4 of the other 36, of which 6 lie in M+ too.
    assert np.allclose(seen[relevant], 0.4 + 0.6 * 4 / 36, atol=0.05)
    assert np.allclose(seen[~relevant], 4 / 36, atol=0.03)


def test_a_video_that_is_all_moment():
    rng = np.random.default_rng(0)
    for length in (1, 5, 8, 30, 100):
        for _ in range(50):
            clip = sample_clip(np.ones(length, dtype=bool), 8, 64, rng)
            assert np.unique(clip).size == min(8, length)


def test_videos_shorter_than_a_clip_show_every_frame():
    rng = np.random.default_rng(0)
    for _ in range(300):
        relevant = rng.random(rng.integers(1, 8)) < rng.random()
        clip = sample_clip(relevant, 8, 64, rng)
        assert clip.size == 8 and set(clip.tolist()) == set(range(relevant.size))
        if relevant.any():  # moments come again until they make up half of the clip
            assert relevant[clip].sum() >= min(4, relevant.sum() + 8 - relevant.size)


def test_single_frame_clip_is_a_moment_frame():
    relevant = np.zeros(50, dtype=bool)
    relevant[33] = True
    for seed in range(20):
        assert sample_clip(relevant, 1, 64, np.random.default_rng(seed)).tolist() == [33]


def test_moment_shorter_than_half_is_taken_whole():
    relevant = np.zeros(50, dtype=bool)
    relevant[[20, 21]] = True
    for seed in range(20):
        clip = sample_clip(relevant, 8, 50, np.random.default_rng(seed))
        assert {20, 21} <= set(clip.tolist()) and np.unique(clip).size == 8


def test_without_moment_sampling_the_moment_does_not_matter():
    one, other = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
    one[:3], other[50:] = True, True
    for seed in range(30):
        a, b = (
            sample_clip(r, 6, 20, np.random.default_rng(seed), moment_sampling=False)
            for r in (one, other)
        )
        assert (a == b).all() and a[-1] - a[0] < 20
    starts = [
        choose_stretch(one, 20, np.random.default_rng(s), moment_sampling=False)[0]
        for s in range(400)
    ]
    assert min(starts) == 0 and max(starts) == 40


def test_no_target_gives_a_uniform_clip():
    relevant = np.zeros(25, dtype=bool)
    rng = np.random.default_rng(0)
    seen = np.bincount(
        np.concatenate([sample_clip(relevant, 5, 64, rng) for _ in range(500)]), minlength=25
    )
    assert seen.min() > 60 and seen.max() < 140  # expected 100 each


def test_same_generator_same_clip():
    relevant = random_relevant(np.random.default_rng(3))
    first, second = (sample_clip(relevant, 8, 64, np.random.default_rng(7)) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros(0, dtype=bool), 4, 8),
        (np.zeros((2, 3), dtype=bool), 4, 8),
        (np.ones(5, dtype=bool), 0, 8),
        (np.ones(5, dtype=bool), 4, 0),
    ],
)
def test_senseless_arguments_are_refused(arguments):
    with pytest.raises(ValueError):
        sample_clip(*arguments, np.random.default_rng(0))


def test_select_objects_keeps_those_whose_moments_overlap():
    moments = {"a": [(0, 4)], "b": [(10, 12), (20, 30)], "c": [(5, 9)], "d": []}
    assert select_objects(moments, [4, 13, 20]) == ["a", "b"]
    assert select_objects(moments, [5]) == ["c"]
    assert select_objects(moments, [9, 10]) == ["b", "c"]
    assert select_objects(moments, [13, 19, 31]) == []
    assert select_objects({}, [1, 2]) == []


def test_objects_outside_the_clip_are_dropped_and_the_others_kept():
    """For any moments, overlapping or none at all, against the definition of Eq. 6."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        moments = {}
        for obj in "abcd"[: rng.integers(0, 5)]:
            starts = rng.integers(0, 60, rng.integers(0, 4)).tolist()
            moments[obj] = [(start, int(start + rng.integers(0, 9))) for start in starts]
        frames = np.sort(rng.integers(0, 70, rng.integers(1, 9)))
        inside = {
            obj: {t for start, end in spans for t in range(start, end + 1)}
            for obj, spans in moments.items()
        }
        expected = [obj for obj in moments if inside[obj] & set(frames.tolist())]
        assert select_objects(moments, frames) == expected


def test_an_object_survives_every_clip_drawn_from_the_moments():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        length = int(rng.integers(5, 100))
        moments = {}
        relevant = np.zeros(length, dtype=bool)
        for obj in range(rng.integers(1, 4)):
            start = int(rng.integers(length))
            end = int(rng.integers(start, length))
            moments[obj] = [(start, end)]
            relevant[start : end + 1] = True
        clip = sample_clip(relevant, int(rng.integers(1, 9)), 32, rng)
        kept = select_objects(moments, clip)
        assert kept
        for obj, [(start, end)] in moments.items():
            assert (obj in kept) == bool(set(range(start, end + 1)) & set(clip.tolist()))


def test_even_clips_keep_their_promises():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        relevant = random_relevant(rng)
        num_frames, block = int(rng.integers(1, 13)), int(rng.integers(1, 65))
        (start, end), clip = sample_evenly(relevant, num_frames, block, rng)
        assert end - start == min(block, relevant.size) and start >= 0 and end <= relevant.size
        assert clip.shape == (num_frames,) and start <= clip[0] and clip[-1] < end
        assert relevant[clip].any() or not relevant.any()
        if end - start >= num_frames > 1:
            assert len(set(np.diff(clip))) == 1 and clip[1] > clip[0]


@pytest.mark.parametrize(
    ("share", "mean", "all_relevant"), [(0.2, 4.6, 0.0), (0.5, 5.9, 0.04), (0.95, 7.9, 0.89)]
)
def test_even_clips_hold_as_much_of_the_moment_as_the_papers_rule(share, mean, all_relevant):
    """At least half from M+, the rest from anywhere: of a long moment most clips are all M+."""
    relevant = np.zeros(120, dtype=bool)
    relevant[10 : 10 + round(share * 120)] = True
    rng = np.random.default_rng(0)
    counts = [relevant[sample_evenly(relevant, 8, 64, rng)[1]].sum() for _ in range(1500)]
    assert np.mean(counts) == pytest.approx(mean, abs=0.25)
    assert np.mean(np.array(counts) == 8) == pytest.approx(all_relevant, abs=0.2)
    assert min(counts) >= 4


def test_half_of_an_even_clip_comes_from_the_moment():
    relevant = np.zeros(60, dtype=bool)
    relevant[25:41] = True
    rng = np.random.default_rng(0)
    clips = [sample_evenly(relevant, 8, 32, rng)[1] for _ in range(600)]
    counts = np.bincount([relevant[clip].sum() for clip in clips], minlength=9)
    assert counts[4:].sum() == 600 and (counts[4:7] > 100).all()
    spacings = np.bincount([clip[1] - clip[0] for clip in clips], minlength=5)
    assert spacings[1:5].sum() == 600 and (spacings[1:5] > 40).all()  # wider than the moment: fewer


def test_every_frame_of_a_long_moment_comes_in_even_clips():
    relevant = np.zeros(200, dtype=bool)
    relevant[60:140] = True
    rng = np.random.default_rng(0)
    clips = [sample_evenly(relevant, 8, 16, rng)[1] for _ in range(1500)]
    seen = np.bincount(np.concatenate(clips), minlength=200)
    assert (seen[60:140] > 0).all()
    assert any(relevant[clip].all() for clip in clips)
    assert any(not relevant[clip].all() for clip in clips)


@pytest.mark.parametrize(
    "relevant, num_frames, block",
    [(np.ones(0), 8, 16), (np.ones((30, 2)), 8, 16), (np.ones(30), 0, 16), (np.ones(30), 8, 0)],
)
def test_even_clips_of_nothing_are_refused(relevant, num_frames, block):
    with pytest.raises(ValueError, match="must be"):
        sample_evenly(relevant, num_frames, block, np.random.default_rng(0))


def test_the_times_of_an_even_clip_do_not_give_the_moment_away():
    """Frames drawn one by one crowd where M+ is: the distance to the nearest tells it."""

    def told_by_times(clips) -> float:
        """How often a frame of M+ lies nearer to others than one of M- does."""
        found = []
        for relevant, clip in clips:
            apart = np.abs(clip[:, None] - clip[None]) + 1000 * np.eye(len(clip), dtype=int)
            near = -np.sort(apart, axis=1)[:, :3].mean(axis=1)
            inside = relevant[clip]
            more = near[inside][:, None] - near[~inside][None]
            found.extend(((more > 0) + (more == 0) / 2).ravel())
        return float(np.mean(found))

    rng = np.random.default_rng(0)
    crowded, even = [], []
    for _ in range(300):
        relevant = np.zeros(48, dtype=bool)
        first = rng.integers(40)
        relevant[first : first + rng.integers(5, 16)] = True
        crowded.append((relevant, sample_clip(relevant, 8, 32, rng)))
        even.append((relevant, sample_evenly(relevant, 8, 32, rng)[1]))
    assert told_by_times(crowded) > 0.8
    assert 0.45 < told_by_times(even) < 0.6


def test_even_clips_without_moment_sampling_come_from_anywhere():
    one, other = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
    one[:3], other[50:] = True, True
    drawn = [
        [
            sample_evenly(r, 6, 20, np.random.default_rng(seed), moment_sampling=False)[1]
            for seed in range(200)
        ]
        for r in (one, other)
    ]
    assert np.array_equal(*drawn)
    assert set(np.unique(drawn[0])) == set(range(60))
