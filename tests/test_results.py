import json

import numpy as np
import pytest
from pycocotools import mask as coco

from tgl_e2e.errors import InputError
from tgl_e2e.results import (
    Segmentation,
    decode_mask,
    encode_mask,
    mask_area,
    read_result_json,
    write_result_json,
)


def some_masks(count, size=(13, 17), seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, *size)) < np.linspace(0, 1, count)[:, None, None]


def some_segmentation(text, count=5, seed=0):
    rng = np.random.default_rng(seed)
    return Segmentation(
        text=text,
        num_frames=count,
        size=(13, 17),
        fps=30000 / 1001,
        frames=np.arange(count) * 3 + 2,
        relevance=rng.random(count).astype(np.float32),
        moments=[(2, 5), (11, 11)],
        rle=[encode_mask(m) for m in some_masks(count, seed=seed)],
    )


def test_masks_survive():
    for mask in (*some_masks(7), np.zeros((3, 4), bool), np.ones((1, 1), bool)):
        rle = encode_mask(mask)
        assert rle["size"] == list(mask.shape) and type(rle["counts"]) is str
        back = decode_mask(json.loads(json.dumps(rle)))
        assert back.dtype == bool and back.flags.c_contiguous
        assert (back == mask).all()
        assert mask_area(rle) == mask.sum() == coco.area(rle)


def test_segmentation_mask():
    segmentation = some_segmentation("a")
    for i, mask in enumerate(some_masks(5)):
        assert (segmentation.mask(i) == mask).all()
    with pytest.raises(AttributeError):
        segmentation.text = "b"


def test_result_json_schema(tmp_path):
    segmentations = [some_segmentation('the "Füße"'), some_segmentation("b", seed=1)]
    write_result_json(tmp_path / "result.json", segmentations, "clips/a.mp4", "checkpoints/x")
    content = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    expressions = content.pop("expressions")
    assert content == {
        "version": 1,
        "video": "clips/a.mp4",
        "fps": 30000 / 1001,
        "num_frames": 5,
        "frames": [2, 5, 8, 11, 14],
        "height": 13,
        "width": 17,
        "checkpoint": "checkpoints/x",
    }
    assert [sorted(e) for e in expressions] == [["masks", "moments", "relevance", "text"]] * 2
    assert expressions[0]["text"] == 'the "Füße"'
    assert expressions[0]["moments"] == [[2, 5], [11, 11]]
    assert len(expressions[0]["relevance"]) == len(expressions[0]["masks"]) == 5
    assert (coco.decode(expressions[0]["masks"][2]) == segmentations[0].mask(2)).all()


def test_result_json_survives(tmp_path):
    segmentations = [some_segmentation("a"), some_segmentation("a", seed=1)]
    write_result_json(tmp_path / "result.json", segmentations, "clips/a.mp4", "x")
    back = read_result_json(tmp_path / "result.json")
    assert (back.video, back.checkpoint) == ("clips/a.mp4", "x")
    for ours, theirs in zip(segmentations, back.segmentations, strict=True):
        assert theirs.relevance.dtype == np.float32
        assert (theirs.relevance == ours.relevance).all()  # to the last bit
        assert (theirs.frames == ours.frames).all()
        for name in ("text", "num_frames", "size", "fps", "moments", "rle"):
            assert getattr(theirs, name) == getattr(ours, name), name


@pytest.mark.parametrize("content", ["text", "[]", "{}", '{"version": 2}', '{"version": 1}'])
def test_not_a_result(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json"):
        read_result_json(tmp_path / "result.json")
    with pytest.raises(InputError):
        read_result_json(tmp_path / "nothing.json")
