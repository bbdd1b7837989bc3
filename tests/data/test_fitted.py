"""Clips of a network that pads frames and whose windows are contiguous: as inference sees them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_coco import write_coco

from tgl_e2e.data.clips import ClipOptions, choose_frames
from tgl_e2e.data.coco import read_coco
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.motion import WIDEST, MotionClips
from tgl_e2e.data.pictures import PictureClips
from tgl_e2e.data.recorded import RecordedClips
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.fit import Fit

FILL = (124, 116, 104)
PADDED = ClipOptions(num_frames=4, block=16, windows="contiguous", size=48, fill=FILL)


@pytest.mark.parametrize("shape", [(40, 64), (64, 40)])
def test_recorded_frames_are_those_of_inference(tmp_path, shape):
    write_split(tmp_path, "train", videos=2, seed=5, level="full", recording=Recording(shape))
    dataset = read_mevis(tmp_path, "train")
    options = replace(PADDED, flip=0.5, uniform_share=0.5)
    clips = RecordedClips([dataset], options, dataset.num_expressions, seed=0)
    height, width = options.fit.inside(shape)
    plain = 0
    for clip in (clips[i] for i in range(len(clips))):
        video, expression, frames = re.match(r"mevis:([^:]+):(\S+) frames (.*)", clip.name).groups()
        frames = json.loads(frames)
        assert np.diff(frames).tolist() == [1, 1, 1]
        assert (clip.positions.diff() == 1).all()
        assert not clip.target[:, height:].any() and not clip.target[:, :, width:].any()
        record = dataset.video(video)
        if clip.text == next(e for e in record.expressions if e.id == expression).text:
            seen = torch.stack([options.fit.shrink(np.asarray(record.pictures[t])) for t in frames])
            flipped = seen.clone()
            flipped[..., :width] = seen[..., :width].flip(-1)
            off = [(clip.frames.int() - x.int()).abs().max() for x in (seen, flipped)]
            assert min(off) <= 1  # bytes round once more
            plain += off[0] <= 1
    assert plain


def test_photographs_and_rendered_scenes_are_padded_too(tmp_path):
    write_coco(tmp_path)
    options = replace(PADDED, aspect_share=1.0, compress_share=0.5, photometric=0.5, size=64)
    photographs = PictureClips(read_coco(tmp_path, "train"), options, 20, seed=3)
    rendered = MotionClips(options, 20, seed=3)
    fill = torch.tensor(FILL, dtype=torch.uint8)[:, None, None]
    for clips in (photographs, rendered):
        for clip in (clips[i] for i in range(6)):
            empty = (clip.frames == fill).all(dim=1)
            across, down = (empty.all(dim=(0, d)).sum().item() for d in (1, 2))
            assert (across > 0) != (down > 0)  # to the right or below
            inside = clip.target[:, : 64 - down, : 64 - across]
            assert clip.target.sum() == inside.sum()
            assert {x.shape[1:] for x in clip.labels.values()} == {(16, 16)}


def test_masks_of_rendered_scenes_keep_their_shape():
    """An upright frame is as narrow as it is, not as wide as the square."""
    wide = MotionClips(replace(PADDED, aspect_share=1.0, size=96), 40, seed=3)
    square = MotionClips(replace(PADDED, aspect_share=1.0, size=96, fill=None), 40, seed=3)
    pairs = [(wide[index].target.sum(), square[index].target.sum()) for index in range(12)]
    shares = [float(a / b) for a, b in pairs if b > 500]  # of an area, in frames of up to 16:9
    assert 1 / WIDEST - 0.05 < min(shares) < 0.9 and max(shares) <= 1


@pytest.mark.parametrize("length", [3, 8, 21, 40])
def test_windows_of_uniform_clips_are_those_of_the_grid(length):
    options, rng = replace(PADDED, uniform_share=1.0), np.random.default_rng(0)
    for _ in range(20):
        start, frames = choose_frames(np.zeros(length, bool), options, rng)
        if length < 4:
            assert set(frames) == set(range(length))
        else:
            assert (np.diff(frames) == 1).all()
            assert (frames[0] - start) % 4 == 0 or frames[-1] == length - 1


def test_contiguous_clips_hold_the_moment_as_others_do():
    relevant = np.zeros(60, bool)
    relevant[20:50] = True
    rng, held, firsts = np.random.default_rng(0), [], set()
    for _ in range(200):
        start, frames = choose_frames(relevant, PADDED, rng)
        assert (np.diff(frames) == 1).all() and start <= frames[0] and frames[-1] < start + 16
        held.append(relevant[frames].mean())
        firsts.add(int(frames[0] - start))
    assert min(held) >= 0.5 and min(held) < 1 and firsts == set(range(13))


def test_a_square_frame_needs_no_padding():
    rgb = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    assert torch.equal(Fit(48, FILL).shrink(rgb), Fit(48).shrink(rgb))
