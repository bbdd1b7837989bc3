"""Masks left in their file: the same as those of a JSON reader, whatever the spelling."""

import json
import pickle
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from small_sets import rle

from tgl_e2e.data.mask_file import MaskFile
from tgl_e2e.errors import InputError


def random_tracks(seed, count=12):
    """Ragged masks: their counts hold every character, the backslash too; nulls between them."""
    rng = np.random.default_rng(seed)
    tracks = {}
    for n in range(count):
        length = int(rng.integers(1, 6))
        masks = [rng.random((40, 50)) < rng.random() for _ in range(length)]
        tracks[str(n)] = [rle(m) if rng.random() < 0.7 else None for m in masks]
    return tracks


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"indent": 2}])
def test_equal_to_a_json_reader(tmp_path, style):
    tracks = random_tracks(1)
    tracks["10"] = []  # an annotation without frames
    tracks['odd "name"'] = tracks["3"]
    text = json.dumps(tracks, **style)
    assert "\\\\" in text  # the test would be too easy without
    path = tmp_path / "mask_dict.json"
    path.write_text("  " + text + "\n")
    file = MaskFile(path)
    assert list(file) == list(tracks)
    for name, track in tracks.items():
        assert name in file and file.length(name) == len(track)
        assert [file.rle(name, i) for i in range(len(track))] == track
        assert file.present(name).tolist() == [m is not None for m in track]
    copy = pickle.loads(pickle.dumps(file))
    name = next(name for name in file if file.length(name) and file.rle(name, 0) is not None)
    assert copy.rle(name, 0) == file.rle(name, 0)
    assert coco_mask.decode(copy.rle(name, 0)).shape == (40, 50)


def test_an_empty_file_of_masks(tmp_path):
    path = tmp_path / "mask_dict.json"
    path.write_text("{}")
    assert list(MaskFile(path)) == []


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"1": 3}', '{"1": [null}', '{"1": [null] "2"', '{"1": ["x"]}', '{"1": [n']
)
def test_what_is_no_file_of_masks_is_named(tmp_path, text):
    path = tmp_path / "mask_dict.json"
    path.write_text(text)
    with pytest.raises(InputError, match="one list of masks"):
        MaskFile(path)


def test_a_file_cut_short_is_named(tmp_path):
    path = tmp_path / "mask_dict.json"
    text = json.dumps(random_tracks(2))
    path.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="get it again"):
        MaskFile(path)
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        MaskFile(path)


@pytest.mark.parametrize(
    "mask",
    [
        '{"size": [3]}',
        '{"size": [3, null], "counts": "a"}',
        '{"size": [3, 4], "counts": 5}',
        "{nonsense}",
    ],
)
def test_a_mask_that_is_none_is_named_when_it_is_read(tmp_path, mask):
    path = tmp_path / "mask_dict.json"
    path.write_text(f'{{"1": [{mask}]}}')
    with pytest.raises(InputError, match=r"mask_dict\.json: byte 7: not a COCO RLE"):
        MaskFile(path).rle("1", 0)


def test_masks_stay_in_their_file(tmp_path):
    """Else every loader worker has its own copy of several hundred MB."""
    track = random_tracks(3, count=40)
    masks = [mask for masks in track.values() for mask in masks]
    path = tmp_path / "mask_dict.json"
    path.write_text(json.dumps({str(n): masks for n in range(100)}))
    tracemalloc.start()
    try:
        file = MaskFile(path)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(list(file)) == 100 and file.rle("99", 0) == masks[0]
    assert path.stat().st_size > 5e6 and kept < 0.05 * path.stat().st_size
    assert peak < 0.1 * path.stat().st_size
