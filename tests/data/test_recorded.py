"""Clips of recorded data sets, on small MeViS folders with real JPEGs."""

import dataclasses
import json
import logging
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from tgl_e2e.data.clips import ClipOptions, collate
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.recorded import RecordedClips, draw_clip
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.errors import InputError

SIZE = 64  # of the pictures on disk, and of most clips
PLAIN = ClipOptions(num_frames=6, block=24, size=SIZE)
CHANGED = dataclasses.replace(
    PLAIN, uniform_share=0.3, flip=0.5, photometric=0.5, scale=0.5, remember_target=0.5
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Eight videos in the layout of MeViS, expressions of every kind."""
    root = tmp_path_factory.mktemp("motion")
    write_split(root, "train", videos=8, seed=5, level="full", recording=Recording((SIZE, SIZE)))
    return root


@pytest.fixture(scope="module")
def dataset(root):
    return read_mevis(root, "train")


@pytest.fixture
def copy(root, tmp_path):
    shutil.copytree(root / "train", tmp_path / "train")
    return tmp_path


def edit(root, name, change):
    path = root / "train" / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def numbers(clip) -> list[int]:
    """The frame positions that the clip's name tells."""
    return json.loads(re.search(r"frames (\[.*\])$", clip.name).group(1))


def record(dataset, clip):
    """(video, expression) that the clip's name tells."""
    name, expression = re.match(r"[^:]+:([^:]+):(\S+) frames", clip.name).groups()
    video = dataset.video(name)
    return video, next(e for e in video.expressions if e.id == expression)


def same(a, b) -> bool:
    """Two clips or batches, equal in every field."""
    for item in dataclasses.fields(a):
        x, y = getattr(a, item.name), getattr(b, item.name)
        if not (torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y):
            return False
    return True


def every_clip(dataset, options, epochs=1):
    clips = RecordedClips([dataset], options, dataset.num_expressions * epochs, seed=0)
    return [clips[i] for i in range(len(clips))]


# A pure function


def test_a_sample_depends_on_seed_and_index_alone(dataset):
    clips = RecordedClips([dataset], CHANGED, 100, seed=3)
    indices = [0, 7, 99, 41, 8]
    forwards = [clips[i] for i in indices]
    again = RecordedClips([dataset], CHANGED, 500, seed=3)
    backwards = [again[i] for i in reversed(indices)][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], RecordedClips([dataset], CHANGED, 100, seed=4)[0])
    assert same(forwards[2], pickle.loads(pickle.dumps(again))[99])


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_samples(dataset, workers):
    clips = RecordedClips([dataset], CHANGED, dataset.num_expressions + 5, seed=1)
    alone = DataLoader(clips, batch_size=4, collate_fn=collate)
    shared = DataLoader(clips, batch_size=4, collate_fn=collate, num_workers=workers)
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_every_expression_comes_once_per_epoch_in_another_order(dataset):
    clips = RecordedClips([dataset], PLAIN, 3 * dataset.num_expressions, seed=0)
    count = clips.epoch_length
    assert count == dataset.num_expressions
    names = [clips[i].name for i in range(len(clips))]
    pairs = [name.split(" frames")[0] for name in names]
    epochs = [pairs[i * count : (i + 1) * count] for i in range(3)]
    everything = {f"mevis:{v.name}:{e.id}" for v in dataset.videos for e in v.expressions}
    assert all(set(epoch) == everything for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert len(set(names)) > 2.5 * count  # and other frames
    with pytest.raises(IndexError):
        clips[3 * count]


def test_augmentation_does_not_change_what_is_sampled(dataset):
    changed = dataclasses.replace(PLAIN, flip=0.9, photometric=0.9, scale=0.9)
    for a, b in zip(every_clip(dataset, PLAIN), every_clip(dataset, changed), strict=True):
        assert a.name == b.name and torch.equal(a.relevant, b.relevant)
        assert torch.equal(a.positions, b.positions)


# Frames and targets


def test_clips_are_the_frames_and_masks_on_disk(dataset):
    for clip in every_clip(dataset, PLAIN):
        video, expression = record(dataset, clip)
        frames = numbers(clip)
        relevant = expression.relevant(video.num_frames)
        assert clip.frames.shape == (6, 3, SIZE, SIZE) and clip.frames.dtype == torch.uint8
        assert clip.target.shape == (6, SIZE, SIZE) and clip.target.dtype == torch.bool
        assert clip.cue == "mevis" and clip.labels == {} and not clip.remember
        assert clip.text == expression.text
        assert clip.relevant.tolist() == relevant[frames].tolist()
        assert clip.positions.diff().tolist() == np.diff(frames).tolist()
        assert clip.positions[0] >= 0 and clip.positions[-1] < PLAIN.block
        kept = [
            obj
            for obj, moments in expression.moments.items()
            if any(start <= t <= end for start, end in moments for t in frames)
        ]
        for i, t in enumerate(frames):
            assert np.array_equal(clip.frames[i].permute(1, 2, 0), np.asarray(video.pictures[t]))
            target = np.zeros((SIZE, SIZE), dtype=bool)
            for obj in kept:
                target |= expression.masks.read([obj], t)
            assert np.array_equal(clip.target[i], target)


@pytest.mark.parametrize("size", [32, 40, 100])
def test_targets_are_the_masks_resized(dataset, size):
    for clip in every_clip(dataset, dataclasses.replace(PLAIN, size=size, selective=False)):
        _, expression = record(dataset, clip)
        masks = np.stack([expression.mask(t) for t in numbers(clip)])
        covered = F.interpolate(
            torch.from_numpy(masks)[None].float(),
            size=(size, size),
            mode="bilinear",
            antialias=True,
        )[0]
        clear = (covered - 0.5).abs() > 0.02  # bytes round once more
        assert clear.float().mean() > 0.98
        assert torch.equal(clip.target[clear], (covered > 0.5)[clear])


def test_selective_supervision_drops_objects_whose_moment_is_not_in_the_clip(dataset):
    selective = every_clip(dataset, PLAIN, epochs=4)
    everything = every_clip(dataset, dataclasses.replace(PLAIN, selective=False), epochs=4)
    dropped = 0
    for kept, full in zip(selective, everything, strict=True):
        assert kept.name == full.name and not (kept.target & ~full.target).any()
        dropped += not torch.equal(kept.target, full.target)
        _, expression = record(dataset, kept)
        masks = [expression.mask(t) for t in numbers(full)]
        assert np.array_equal(full.target, np.stack(masks))
    assert dropped > 5


def test_no_target(dataset):
    clips = [c for c in every_clip(dataset, PLAIN) if record(dataset, c)[1].no_target]
    assert clips and not any(c.relevant.any() or c.target.any() for c in clips)


def test_a_clip_that_meets_no_moment_has_no_target(dataset):
    for options in (
        dataclasses.replace(PLAIN, uniform_share=1.0),
        dataclasses.replace(PLAIN, moment_sampling=False),
    ):
        clips = [c for c in every_clip(dataset, options, 4) if not c.relevant.any()]
        meant = [c for c in clips if not record(dataset, c)[1].no_target]
        assert len(meant) > 3 and not any(c.target.any() for c in clips)
    clips = every_clip(dataset, dataclasses.replace(options, selective=False), 4)
    assert any(c.target.any() and not c.relevant.any() for c in clips)


@pytest.mark.parametrize("even", [True, False])
def test_half_of_a_clip_is_relevant_and_an_object_survives(dataset, even):
    for clip in every_clip(dataset, dataclasses.replace(PLAIN, even_spacing=even), epochs=2):
        video, expression = record(dataset, clip)
        if expression.no_target:
            continue
        first = numbers(clip)[0] - int(clip.positions[0])
        here = expression.relevant(video.num_frames)[first : first + PLAIN.block]
        assert here.any() and clip.relevant.any()
        assert even or clip.relevant.sum() >= min(3, here.sum())  # else as spacing allows


def test_flipped_clips_are_mirrored_with_their_sentence(dataset):
    plain = every_clip(dataset, PLAIN)
    flipped = every_clip(dataset, dataclasses.replace(PLAIN, flip=1.0))
    sides = {"left": "right", "right": "left"}
    moved = 0
    for a, b in zip(plain, flipped, strict=True):
        mirrored = torch.equal(a.frames.flip(-1), b.frames)
        assert mirrored == torch.equal(a.target.flip(-1), b.target) or not a.target.any()
        assert mirrored or (torch.equal(a.frames, b.frames) and a.text == b.text)
        swapped = re.sub("left|right", lambda m: sides[m.group()], a.text)
        assert b.text == (swapped if mirrored else a.text)
        moved += mirrored and swapped != a.text
    assert moved > 1


def test_memory_is_written_from_true_masks_in_a_share_of_the_clips(dataset):
    options = dataclasses.replace(PLAIN, remember_target=0.5)
    share = np.mean([clip.remember for clip in every_clip(dataset, options, 4)])
    assert 0.3 < share < 0.7


# What is read


class Spy:
    """A `MaskReader` that notes what is asked of it."""

    def __init__(self, masks):
        self.masks, self.asked = masks, []

    def read(self, objects, position):
        self.asked.append((tuple(objects), position))
        return self.masks.read(objects, position)

    def visible(self, obj):
        return self.masks.visible(obj)

    def appears(self, obj):
        return self.masks.appears(obj)


def test_only_chosen_frames_and_kept_objects_are_read(copy, dataset):
    clip = next(
        c
        for c in every_clip(dataset, PLAIN, 3)
        if c.relevant.any() and len(record(dataset, c)[1].objects) > 1
    )
    video, expression = record(read_mevis(copy, "train"), clip)
    spy = Spy(expression.masks)
    spied = dataclasses.replace(expression, masks=spy)
    for seed in range(5):
        spy.asked.clear()
        drawn = draw_clip(video, spied, "mevis", PLAIN, np.random.default_rng(seed))
        kept = tuple(
            obj
            for obj, moments in expression.moments.items()
            if any(s <= t <= e for s, e in moments for t in numbers(drawn))
        )
        assert spy.asked == [(kept, t) for t in numbers(drawn)]
    for t, path in enumerate(video.frames):
        if t not in numbers(drawn):  # what is left of it says its size and nothing else
            path.write_bytes(path.read_bytes()[:700])
            with pytest.raises(InputError):
                video.pictures[t]
    assert same(drawn, draw_clip(video, spied, "mevis", PLAIN, np.random.default_rng(seed)))


def test_missing_moments_are_the_frames_with_a_mask(copy, caplog):
    (copy / "train" / "moments.json").unlink()
    data = read_mevis(copy, "train")
    assert "moments.json" in caplog.text
    for clip in every_clip(data, PLAIN):
        _, expression = record(data, clip)
        visible = [expression.mask(t).any() for t in numbers(clip)]
        assert clip.relevant.tolist() == visible == clip.target.any((1, 2)).tolist()


def test_expressions_without_any_mask_are_dropped_and_counted(copy, caplog):
    name = "meta_expressions.json"
    meta = json.loads((copy / "train" / name).read_text())
    gone = next(
        e["anno_id"][0]
        for v in meta["videos"].values()
        for e in v["expressions"].values()
        if e["anno_id"]
    )
    without = sum(
        e["anno_id"] == [gone] for v in meta["videos"].values() for e in v["expressions"].values()
    )
    edit(copy, "mask_dict.json", lambda c: c.update({str(gone): [None] * len(c[str(gone)])}))
    data = read_mevis(copy, "train")
    with caplog.at_level(logging.INFO):
        clips = RecordedClips([data], PLAIN, 10, seed=0)
    assert without > 0 and clips.epoch_length == data.num_expressions - without
    assert len(caplog.records) == 1
    assert f"{clips.epoch_length} expressions of 8 videos; {without} more" in caplog.text


def test_all_expressions_dropped_is_an_error(copy):
    edit(
        copy,
        "mask_dict.json",
        lambda c: c.update({key: [None] * len(track) for key, track in c.items()}),
    )

    def only_targets(meta):
        for video in meta["videos"].values():
            video["expressions"] = {k: e for k, e in video["expressions"].items() if e["anno_id"]}

    edit(copy, "meta_expressions.json", only_targets)
    with pytest.raises(InputError, match="no expression"):
        RecordedClips([read_mevis(copy, "train")], PLAIN, 10, seed=0)


def test_a_split_that_does_not_say_what_is_meant_is_refused(copy):
    def strip(meta):
        for video in meta["videos"].values():
            for expression in video["expressions"].values():
                del expression["obj_id"], expression["anno_id"]

    edit(copy, "meta_expressions.json", strip)
    with pytest.raises(InputError, match="split train does not say") as caught:
        RecordedClips([read_mevis(copy, "train")], PLAIN, 10, seed=0)
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)
    (copy / "train" / "mask_dict.json").unlink()
    with pytest.raises(InputError, match="split train does not say"):
        RecordedClips([read_mevis(copy, "train")], PLAIN, 10, seed=0)


# Videos of other sizes


def write_video(root, frames, width=40, height=24, masked=None):
    """<root>/train with one video: a square that moves, in `masked` frames (all of them)."""
    split = root / "train"
    pictures = split / "JPEGImages" / "clip"
    pictures.mkdir(parents=True)
    names, track = [f"{t:05d}" for t in range(frames)], []
    for t, name in enumerate(names):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[4:12, t : t + 8] = 1
        rle = coco_mask.encode(np.asfortranarray(mask))
        seen = masked is None or t in masked
        track.append({"size": rle["size"], "counts": rle["counts"].decode()} if seen else None)
        Image.fromarray(np.dstack([mask * 200] * 3)).save(pictures / f"{name}.jpg", quality=95)
    expression = {"exp": "the square", "obj_id": [0], "anno_id": [0]}
    meta = {"videos": {"clip": {"frames": names, "expressions": {"0": expression}}}}
    (split / "meta_expressions.json").write_text(json.dumps(meta))
    (split / "mask_dict.json").write_text(json.dumps({"0": track}))
    return root


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_short_videos_show_every_frame(tmp_path, frames, scale):
    data = read_mevis(write_video(tmp_path, frames), "train")
    options = dataclasses.replace(PLAIN, num_frames=8, scale=scale)
    clips = RecordedClips([data], options, 10, seed=0)
    for i in range(10):
        clip = clips[i]
        assert sorted(set(numbers(clip))) == list(range(frames)) and len(numbers(clip)) == 8
        assert clip.relevant.all() and clip.target.any((1, 2)).all()
        for a, b in zip(range(7), range(1, 8), strict=True):
            repeated = numbers(clip)[a] == numbers(clip)[b]
            assert repeated == torch.equal(clip.target[a], clip.target[b])
            assert not repeated or torch.equal(clip.frames[a], clip.frames[b])


def test_images_are_relevant(tmp_path):
    data = dataclasses.replace(read_mevis(write_video(tmp_path, 1), "train"), kind="refcoco")
    clip = RecordedClips([data], dataclasses.replace(PLAIN, num_frames=1), 4, seed=0)[3]
    assert clip.relevant.tolist() == [True] and clip.target.shape == (1, SIZE, SIZE)
    assert clip.cue == "refcoco" and clip.name == "refcoco:clip:0 frames [0]"
    assert clip.positions.tolist() == [0] and clip.target.any()


def test_data_sets_are_mixed(dataset, tmp_path):
    image = dataclasses.replace(read_mevis(write_video(tmp_path, 1), "train"), kind="refcoco")
    clips = RecordedClips([dataset, image], PLAIN, 100, seed=0)
    count = dataset.num_expressions + 1
    assert clips.epoch_length == count
    kinds = [clips[i].cue for i in range(count)]
    assert kinds.count("refcoco") == 1 and kinds.count("mevis") == count - 1


def test_an_epoch_has_as_many_clips_of_an_expression_as_is_asked_for(dataset):
    """0: as many as clips of T frames go into its video."""

    def counts(times: int) -> dict[str, int]:
        options = dataclasses.replace(PLAIN, clips_per_expression=times)
        clips = RecordedClips([dataset], options, 1, seed=0)
        found: dict[str, int] = {}
        for place in range(clips.epoch_length):
            _, video, _ = clips._find(0, place)
            found[video.name] = found.get(video.name, 0) + 1
        return found

    once = counts(1)
    assert counts(3) == {name: 3 * count for name, count in once.items()}
    fitting = {video.name: -(-video.num_frames // 6) for video in dataset.videos}
    assert min(fitting.values()) > 1
    assert counts(0) == {name: fitting[name] * count for name, count in once.items()}


def test_clips_of_one_expression_differ(tmp_path):
    data = read_mevis(write_video(tmp_path, 60), "train")
    clips = RecordedClips([data], dataclasses.replace(PLAIN, clips_per_expression=0), 10, seed=0)
    assert clips.epoch_length == 10
    assert len({clips[i].name for i in range(10)}) > 5


def test_bad_texts_are_named_or_left_out_and_counted(dataset, caplog):
    video = dataset.videos[2]
    bad = video.expressions[0]

    def check(text: str) -> None:
        if text == bad.text:
            raise InputError("the text is too long")

    same = sum(e.text == bad.text for v in dataset.videos for e in v.expressions)
    with pytest.raises(InputError, match=r"video \S+, expression \S+: the text is too long; skip_"):
        RecordedClips([dataset], PLAIN, 4, seed=0, check=check)
    clips = RecordedClips([dataset], PLAIN, 4, seed=0, check=check, skip_bad=True)
    assert clips.epoch_length == dataset.num_expressions - same
    assert f"{same} expressions with bad texts are left out" in caplog.text


class Squares:
    """A `MaskReader` of masks that are no larger than 8 x 8."""

    def read(self, objects, position):
        return np.ones((8, 8), dtype=bool)

    def visible(self, obj):
        return np.ones(2, dtype=bool)


def test_masks_of_another_size_than_the_pictures_are_refused(tmp_path):
    video = read_mevis(write_video(tmp_path, 2), "train").videos[0]
    odd = dataclasses.replace(video.expressions[0], masks=Squares())
    with pytest.raises(InputError, match=r"\.jpg: 40 x 24 pixels, .* has 8 x 8"):
        draw_clip(video, odd, "mevis", PLAIN, np.random.default_rng(0))


def test_a_damaged_picture_is_named_by_a_worker_too(tmp_path):
    data = read_mevis(write_video(tmp_path, 1), "train")
    data.videos[0].frames[0].write_bytes(b"\xff\xd8 nonsense")
    loader = DataLoader(RecordedClips([data], PLAIN, 1, seed=0), num_workers=1, collate_fn=collate)
    with pytest.raises(InputError) as caught:
        next(iter(loader))
    assert "00000.jpg: a damaged picture" in str(caught.value).strip().splitlines()[-1]
