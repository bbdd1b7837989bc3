"""The readers of Ref-YouTube-VOS and Ref-DAVIS17 on small folders of the true layout."""

import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_sets import (
    FRAMES,
    HEIGHT,
    NAMES,
    WIDTH,
    edit_json,
    object_ids,
    write_davis,
    write_json,
    write_ytvos,
)

from tgl_e2e.data.check import main as check
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.ytvos import open_palette, read_ytvos
from tgl_e2e.errors import InputError


@pytest.fixture
def root(tmp_path):
    return write_ytvos(tmp_path)


def test_reads_train_with_masks_of_palette_pictures(root):
    data = read_dataset("ref-youtube-vos", root, "train")
    assert data.kind == "ref-youtube-vos" and data.num_expressions == 3
    video = data.video("003234408d")
    assert video.num_frames == FRAMES and video.size() == (HEIGHT, WIDTH)
    assert [path.name for path in video.frames] == [f"{name}.jpg" for name in NAMES]
    first, second = video.expressions
    assert first.text == "a square that slides" and second.objects == ("2",)
    for t in range(FRAMES):
        assert (first.mask(t) == (object_ids(t) == 1)).all()
        assert (second.mask(t) == (object_ids(t) == 2)).all()
    assert first.mask(0).dtype == bool and first.annotation is None
    assert [second.mask(t).any() for t in (0, 3)] == [False, True]
    assert first.masks.read((), 0).shape == (HEIGHT, WIDTH) and not first.masks.read((), 0).any()
    with pytest.raises(IndexError):
        first.mask(FRAMES)


def test_without_moments_an_object_is_relevant_where_it_is_seen(root, caplog):
    with caplog.at_level(logging.WARNING):
        data = read_dataset("ref-youtube-vos", root, "train")
    assert len(caplog.records) == 1 and "moments.json is missing" in caplog.text
    first, second = data.video("003234408d").expressions
    assert dict(first.moments) == {"1": ((0, 3),)} and dict(second.moments) == {"2": ((2, 3),)}
    assert second.relevant(FRAMES).tolist() == [False, False, True, True]


def test_whether_an_object_appears_takes_the_first_annotations_alone(root):
    first, second = read_dataset("ref-youtube-vos", root, "train").video("003234408d").expressions
    (root / "train" / "Annotations" / "003234408d" / f"{NAMES[3]}.png").unlink()
    assert first.masks.appears("1") and second.masks.appears("2")  # frames 0 and 2
    with pytest.raises(InputError):
        first.masks.appears("3")  # in none of them, so all are opened


def test_no_annotation_is_opened_before_moments_are_asked_for(root):
    (root / "train" / "Annotations" / "003234408d" / f"{NAMES[1]}.png").unlink()
    first, _ = read_dataset("ref-youtube-vos", root, "train").video("003234408d").expressions
    assert first.mask(0).any()
    with pytest.raises(InputError, match=rf"{NAMES[1]}\.png: no such annotation"):
        first.mask(1)
    with pytest.raises(InputError, match="no such annotation"):
        first.relevant(FRAMES)


def test_moments_beside_the_expressions_are_honoured(root, caplog):
    moments = {
        "003234408d": {
            "expressions": {"0": {"objects": {"1": [[1, 2]]}}, "1": {"objects": {"*": [[3, 3]]}}}
        },
        "0043f083b5": {"expressions": {"0": {"objects": {"1": [[0, 0]]}}}},
    }
    path = root / "meta_expressions" / "train" / "moments.json"
    write_json(path, {"version": 1, "videos": moments})
    data = read_dataset("ref-youtube-vos", root, "train")
    first, second = data.videos[0].expressions
    assert first.moments == {"1": ((1, 2),)} and second.moments == {"2": ((3, 3),)}
    assert not caplog.records
    edit_json(path, lambda c: c["videos"]["0043f083b5"]["expressions"].clear())
    with pytest.raises(InputError, match="video 0043f083b5, expression 0: no entry"):
        read_dataset("ref-youtube-vos", root, "train")


def test_valid_has_no_masks_and_not_the_videos_of_test(root, caplog):
    data = read_dataset("ref-youtube-vos", root, "valid")
    assert [video.name for video in data.videos] == ["0062f687f1"]
    (expression,) = data.videos[0].expressions
    assert expression.objects is None and expression.masks is None and expression.moments is None
    assert expression.mask(0) is None and not expression.no_target
    assert "moments are not known" in caplog.text
    (root / "meta_expressions" / "test" / "meta_expressions.json").unlink()
    assert len(read_dataset("ref-youtube-vos", root, "valid").videos) == 2


def test_records_travel_to_worker_processes(root):
    record = read_dataset("ref-youtube-vos", root, "train").videos[0].expressions[1]
    assert record.relevant(FRAMES).sum() == 2  # looked up before, so that it travels
    copy = pickle.loads(pickle.dumps(record))
    assert copy.relevant(FRAMES).sum() == 2 and (copy.mask(3) == record.mask(3)).all()


def test_what_is_no_annotation_is_named(root):
    path = root / "train" / "Annotations" / "003234408d" / f"{NAMES[0]}.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path)
    with pytest.raises(InputError, match=r"mode RGB, annotations have a palette"):
        open_palette(path)
    path.write_bytes(b"\x89PNG nonsense")
    with pytest.raises(InputError, match="a damaged picture"):
        open_palette(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["0043f083b5"]["expressions"]["0"].update(obj_id="0"), "number from 1 to 255"),
        (lambda v: v["0043f083b5"]["expressions"]["0"].update(obj_id=[1]), "expression 0: obj_id"),
        (lambda v: v["0043f083b5"]["frames"].append("99999"), r"99999\.jpg: no such frame"),
        (lambda v: v["0043f083b5"].update(expressions=3), "no list of frames or expressions"),
        (lambda v: v["0043f083b5"].update(frames=["a/b"]), "no safe name"),
    ],
)
def test_broken_files_are_named_in_one_line(root, change, message):
    path = root / "meta_expressions" / "train" / "meta_expressions.json"
    edit_json(path, lambda content: change(content["videos"]))
    with pytest.raises(InputError, match=message) as caught:
        read_dataset("ref-youtube-vos", root, "train")
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_missing_folders_are_named(root):
    with pytest.raises(InputError, match=r"other/JPEGImages: no such folder.*and its split"):
        read_dataset("ref-youtube-vos", root, "other")
    (root / "other" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(InputError, match=r"meta_expressions\.json: no such file"):
        read_dataset("ref-youtube-vos", root, "other")
    (root / "train" / "JPEGImages").rename(root / "train" / "pictures")
    with pytest.raises(InputError, match="JPEGImages: no such folder"):
        read_dataset("ref-youtube-vos", root, "train")
    with pytest.raises(InputError, match=r"no data set is called 'mevis2', give one of motion, "):
        read_dataset("mevis2", root, "train")


def test_davis_tells_object_and_annotation(tmp_path):
    root = write_davis(tmp_path)
    data = read_dataset("ref-davis", root, "valid")
    (video,) = data.videos
    assert data.kind == "ref-davis" and [e.id for e in video.expressions] == [*"01234567"]
    assert [e.annotation for e in video.expressions] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [e.objects for e in video.expressions] == [("1",)] * 4 + [("2",)] * 4
    assert (video.expressions[6].mask(3) == (object_ids(3) == 2)).all()


GENUINE = Path(__file__).parents[3] / "shared" / "formats" / "ref-youtube-vos"


@pytest.mark.skipif(not GENUINE.is_dir(), reason="needs the genuine file")
def test_the_genuine_file_of_valid(tmp_path, capsys):
    """All 507 videos of the release, frames of one picture each."""
    meta = json.loads((GENUINE / "meta_expressions.json").read_text())["videos"]
    folder = tmp_path / "meta_expressions" / "valid"
    folder.mkdir(parents=True)
    shutil.copy(GENUINE / "meta_expressions.json", folder)
    Image.new("RGB", (16, 12), (90, 120, 30)).save(tmp_path / "frame.jpg")
    for name, video in meta.items():
        frames = tmp_path / "valid" / "JPEGImages" / name
        frames.mkdir(parents=True)
        for frame in video["frames"]:
            os.link(tmp_path / "frame.jpg", frames / f"{frame}.jpg")
    dataset = read_ytvos(tmp_path, "valid")
    assert len(dataset.videos) == 507
    assert sum(len(video.expressions) for video in dataset.videos) == 2096
    for video in dataset.videos:
        assert [e.text for e in video.expressions] == [
            e["exp"] for e in meta[video.name]["expressions"].values()
        ]
        assert video.expressions[0].objects is None and video.pictures[0].size == (16, 12)
    assert check(["ref-youtube-vos", str(tmp_path), "--split", "valid"]) == 0
    assert "507" in capsys.readouterr().out
