"""Published data sets, small, and what the readers make of what was converted."""

import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from tgl_e2e.data.refcoco import read_refcoco
from tgl_e2e.data.ytvos import read_davis
from tgl_e2e.tools.convert.__main__ import main
from tgl_e2e.tools.convert.ref_davis import TEXTS

SQUARE = [[2, 2, 10, 2, 10, 8, 2, 8]]


def refs() -> list:
    """As lichengunc/refer writes them: one reference, of several sentences."""
    return [
        {
            "sent_ids": [7 * k, 7 * k + 1],
            "file_name": f"COCO_train2014_00000000000{k}_16.jpg",
            "ann_id": 100 + k,
            "ref_id": k,
            "image_id": k,
            "split": split,
            "category_id": 1,
            "sentences": [
                {"tokens": ["a", "dog"], "raw": "A dog", "sent_id": 7 * k, "sent": "a dog"},
                {"tokens": ["it"], "raw": "it", "sent_id": 7 * k + 1, "sent": f"it {k}"},
            ],
        }
        for k, split in enumerate(("train", "val", "testA"))
    ]


def instances() -> dict:
    images = [
        {"id": k, "file_name": f"COCO_train2014_00000000000{k}.jpg", "height": 12, "width": 16}
        for k in range(3)
    ]
    outlines = [
        {
            "id": 100 + k,
            "image_id": k,
            "segmentation": SQUARE,
            "area": 48,
            "bbox": [2, 2, 8, 6],
            "iscrowd": 0,
            "category_id": 1,
        }
        for k in range(3)
    ]
    return {"images": images, "annotations": outlines, "categories": [{"id": 1, "name": "dog"}]}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs(), protocol=0))
    (folder / "instances.json").write_text(json.dumps(instances()))
    return folder


def refcoco(source, output) -> int:
    return main(["refcoco", "refcoco", "--source", str(source), "--output", str(output)])


def test_refcoco_is_read_as_it_was_published(source, tmp_path):
    root = tmp_path / "root"
    assert refcoco(source, root) == 0
    (root / "train2014").mkdir()
    for k in range(3):
        Image.new("RGB", (16, 12)).save(root / "train2014" / f"COCO_train2014_00000000000{k}.jpg")
    for k, split in enumerate(("train", "val", "testA")):
        dataset = read_refcoco(root, split, "refcoco")
        (video,) = dataset.videos
        assert [e.text for e in video.expressions] == ["a dog", f"it {k}"]
        mask = next(iter(video.expressions)).masks.read((str(100 + k),), 0)
        assert mask.shape == (12, 16) and mask[3:7, 3:9].all() and mask.sum() <= 9 * 7


class Evil:
    def __reduce__(self):
        return os.mkdir, ("escaped",)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pickle.dumps([Evil()]), "names"),
        (pickle.dumps({"a": 1}), "no list of references"),
        (pickle.dumps(refs())[:-40], "get it again"),
        (b"\x80\x04not a pickle", "get it again"),
        (pickle.dumps([{"split": "train"}]), "'image_id'"),
        (pickle.dumps([{**refs()[0], "ann_id": 5}]), "5"),
        (pickle.dumps([]), "no reference"),
    ],
)
def test_no_pickle_runs_anything(source, tmp_path, capsys, monkeypatch, content, named):
    monkeypatch.chdir(tmp_path)
    (source / "refs(unc).p").write_bytes(content)
    assert refcoco(source, tmp_path / "root") == 2
    error = capsys.readouterr().err
    assert named in error and "refs(unc).p" in error and error.count("\n") == 1
    assert not (tmp_path / "escaped").exists() and not (tmp_path / "root").exists()


def test_what_is_there_is_not_written_over(source, tmp_path, capsys):
    assert refcoco(source, tmp_path / "root") == 0
    assert refcoco(source, tmp_path / "root") == 2
    assert "already" in capsys.readouterr().err


@pytest.fixture
def davis(tmp_path):
    folder = tmp_path / "DAVIS"
    (folder / "ImageSets" / "2017").mkdir(parents=True)
    for name, listed in (("bear", "train"), ("judo", "val")):
        (folder / "ImageSets" / "2017" / f"{listed}.txt").write_text(f"{name}\n")
        for kind in ("JPEGImages", "Annotations"):
            (folder / kind / "480p" / name).mkdir(parents=True)
        for t in range(3):
            Image.new("RGB", (16, 12)).save(folder / "JPEGImages" / "480p" / name / f"{t:05d}.jpg")
            ids = np.zeros((12, 16), np.uint8)
            ids[2:5, t : t + 4], ids[7:10, 3:6] = 1, 2
            picture = Image.fromarray(ids, mode="P")
            picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            picture.save(folder / "Annotations" / "480p" / name / f"{t:05d}.png")
    texts = folder / "davis_text_annotations"
    texts.mkdir()
    for which, name in enumerate(TEXTS):
        lines = [
            f'{video} {obj} "the caf\xe9 {video} {obj} {which}"'
            for video in ("bear", "judo")
            for obj in (1, 2)
        ]
        (texts / name).write_bytes("\n".join(lines).encode("latin-1"))
    return folder


def ref_davis(davis, output, *more) -> int:
    texts = davis / "davis_text_annotations"
    return main(
        ["ref-davis", "--davis", str(davis), "--texts", str(texts), "--output", str(output), *more]
    )


@pytest.mark.parametrize("more", [(), ("--link",)])
def test_ref_davis_is_read_as_it_was_published(davis, tmp_path, more):
    root = tmp_path / "root"
    assert ref_davis(davis, root, *more) == 0
    assert sorted(path.name for path in root.iterdir()) == ["meta_expressions", "train", "valid"]
    dataset = read_davis(root, "valid")
    (video,) = dataset.videos
    said = [(e.text, e.objects, e.annotation) for e in video.expressions]
    expected = [(f"the café judo {o} {w}", (str(o),), w) for o in (1, 2) for w in range(4)]
    assert said == expected and video.num_frames == 3
    assert video.expressions[0].masks.read(("1",), 2)[2:5, 2:6].all()


def test_texts_that_do_not_agree_are_named(davis, tmp_path, capsys):
    path = davis / "davis_text_annotations" / TEXTS[2]
    path.write_text('bear 1 "x"\nbear 2 "y"\njudo 1 "z"\n')
    assert ref_davis(davis, tmp_path / "root") == 2
    assert "judo" in capsys.readouterr().err and not (tmp_path / "root" / "valid").exists()
    path.write_text("bear one x\n")
    assert ref_davis(davis, tmp_path / "other") == 2
    assert "line 1" in capsys.readouterr().err
