"""The reader of RefCOCO on a small folder of the true layout."""

import pickle

import numpy as np
import pytest
from small_sets import HEIGHT, WIDTH, edit_json, object_ids, write_refcoco

from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.rle import draw
from tgl_e2e.errors import InputError


@pytest.mark.parametrize("kind", ["refcoco", "refcoco+", "refcocog"])
def test_a_picture_is_a_video_of_one_frame_with_all_its_sentences(tmp_path, kind):
    data = read_dataset(kind, write_refcoco(tmp_path, kind), "val")
    assert data.kind == kind and data.num_expressions == 4
    first, second = data.videos
    assert first.name == "COCO_train2014_000000000001" and first.num_frames == 1
    assert first.size() == (HEIGHT, WIDTH) and np.asarray(first.pictures[0]).shape[2] == 3
    assert [e.text for e in first.expressions] == ["sentence 1", "sentence 2", "sentence 3"]
    assert [e.objects for e in first.expressions] == [("501",), ("501",), ("502",)]
    assert [e.id for e in second.expressions] == ["4"]
    assert all(e.relevant(1).tolist() == [True] for e in first.expressions)


def test_polygons_lists_and_strings_become_masks(tmp_path):
    first, second = read_dataset("refcoco", write_refcoco(tmp_path), "train").videos
    polygon = np.zeros((HEIGHT, WIDTH), dtype=bool)
    polygon[2:6, 2:8] = True
    column = np.zeros((HEIGHT, WIDTH), dtype=bool)
    column[:, 10] = True
    one, again, listed = first.expressions
    assert (one.mask(0) == polygon).all() and (again.mask(0) == polygon).all()
    assert (listed.mask(0) == column).all() and one.mask(0).dtype == bool
    assert (second.expressions[0].mask(0) == (object_ids(2) == 2)).all()
    with pytest.raises(IndexError):
        one.mask(1)
    copy = pickle.loads(pickle.dumps(first))
    assert (copy.expressions[2].mask(0) == column).all()


def test_an_object_in_several_sentences_is_kept_once(tmp_path):
    path = write_refcoco(tmp_path) / "refcoco" / "instances_refcoco_train.json"
    outline = np.random.default_rng(0).uniform(0, 10, 400).tolist()

    def change(content):
        for annotation in content["annotations"][:3]:
            annotation["segmentation"] = [outline]

    edit_json(path, change)
    first, _ = read_dataset("refcoco", tmp_path, "train").videos
    assert [e.masks.tracks[0][1] for e in first.expressions] == [[outline]] * 3
    assert len(pickle.dumps(first)) < len(str(outline))


def test_file_names_may_have_a_folder(tmp_path):
    root = write_refcoco(tmp_path)
    (root / "train2014").rename(root / "pictures")
    (root / "train2014").mkdir()
    (root / "pictures").rename(root / "train2014" / "part")
    path = root / "refcoco" / "instances_refcoco_val.json"

    def change(content):
        for image in content["images"]:
            image["file_name"] = "part/" + image["file_name"]

    edit_json(path, change)
    first, _ = read_dataset("refcoco", root, "val").videos
    assert first.name == "part/COCO_train2014_000000000001" and first.size() == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "neither polygons nor RLE"),
        ([[1, 2, 3, 4]], "three or more x, y"),
        ([["a", 1, 2, 3, 4, 5]], "three or more x, y"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
        ([[0, 0, float("nan"), 0, 5, 5]], "far outside"),
        ({"size": [3, 4], "counts": "abc"}, r"size \[3, 4\] for a picture of \[12, 20\]"),
        ({"size": [12, 20]}, "no RLE with size and counts"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, segmentation, message):
    with pytest.raises(ValueError, match=message):
        draw(segmentation, (HEIGHT, WIDTH))
    path = write_refcoco(tmp_path) / "refcoco" / "instances_refcoco_train.json"
    edit_json(path, lambda c: c["annotations"][0].update(segmentation=segmentation))
    first, _ = read_dataset("refcoco", tmp_path, "train").videos
    with pytest.raises(InputError, match=rf"instances_refcoco_train\.json: .*{message}"):
        first.expressions[0].mask(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), 'no "images"'),
        (lambda c: c["annotations"].pop(), "sentences without an annotation"),
        (lambda c: c["annotations"][0].pop("segmentation"), "annotations without id"),
        (lambda c: c["images"][0].pop("caption"), "image entry 1: no text"),
        (lambda c: c["images"][0].pop("height"), "image entries without id"),
        (lambda c: c["images"][0].update(file_name="x.jpg"), r"x\.jpg: no such frame"),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path, change, message):
    path = write_refcoco(tmp_path) / "refcoco" / "instances_refcoco_train.json"
    edit_json(path, change)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset("refcoco", tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_missing_things_are_named(tmp_path):
    with pytest.raises(InputError, match="train2014: no such folder"):
        read_dataset("refcoco", tmp_path, "train")
    with pytest.raises(InputError, match=r"instances_refcoco_testA\.json: no such file"):
        read_dataset("refcoco", write_refcoco(tmp_path), "testA")


@pytest.mark.parametrize(
    ("key", "value"),
    [("file_name", "../../evil.jpg"), ("id", "../../out"), ("file_name", "/x.jpg")],
)
def test_names_that_would_leave_the_folder_are_refused(tmp_path, key, value):
    path = write_refcoco(tmp_path) / "refcoco" / "instances_refcoco_train.json"

    def change(content):
        old = content["images"][0][key]
        content["images"][0][key] = value
        for annotation in content["annotations"]:
            if key == "id" and annotation["image_id"] == old:
                annotation["image_id"] = value

    edit_json(path, change)
    with pytest.raises(InputError, match="no safe name"):
        read_dataset("refcoco", tmp_path, "train")
