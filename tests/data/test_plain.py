"""Simple clips that are not the synthetic set's: what is drawn, said and written fits together."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.plain import ACTIONS, COLOURS, Thing, draw_frames, draw_things, main, sentences

GREY = Image.new("RGB", (160, 120), "dimgray")


@pytest.mark.parametrize("action", [None, *ACTIONS])
def test_things_do_what_they_are_said_to_in_their_moment(action):
    thing = Thing("red", "square", action, 80, 60, 15, first=10, last=20)
    frames, ids = draw_frames([thing], GREY, 30)
    assert (frames[ids == 1] == (255, 0, 0)).all() and (frames[ids == 0] == (105, 105, 105)).all()
    assert all((ids[t] == ids[0]).all() for t in range(10))
    assert all((ids[t] == ids[20]).all() for t in range(20, 30))
    changes = [(ids[t] != ids[t - 1]).any() for t in range(11, 21)]
    assert not any(changes) if action is None else np.mean(changes) >= 0.5
    rows, columns = (np.array([np.argwhere(m)[:, i].mean() for m in ids]) for i in (0, 1))
    moved = {
        "left": columns[0] - columns[20],
        "right": columns[20] - columns[0],
        "up": rows[0] - rows[20],
        "down": rows[20] - rows[0],
        "jump": min(rows[0], rows[20]) - rows[10:21].min(),
    }  # and down again
    assert all((distance > 15) == (name == action) for name, distance in moved.items())
    area = ids[20].sum() / ids[0].sum()
    assert (area > 2) == (action == "grow") and (area < 0.5) == (action == "shrink")


@pytest.mark.parametrize("photographs", [False, True])
def test_a_written_split_is_read_as_mevis_is(tmp_path, photographs):
    arguments = ["--output", str(tmp_path / "out"), "--videos", "4", "--seed", "3"]
    if photographs:
        (tmp_path / "pictures").mkdir()
        noise = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / "one.jpg")
        arguments += ["--pictures", str(tmp_path / "pictures")]
    assert main(arguments) == 0
    dataset = read_dataset("motion", tmp_path / "out", "valid_u")
    folder = tmp_path / "out" / "valid_u"
    meta = json.loads((folder / "meta_expressions.json").read_text())["videos"]
    masks = json.loads((folder / "mask_dict.json").read_text())
    assert len(dataset.videos) == len(meta) == 4
    for name, video in meta.items():
        texts = [e["exp"] for e in video["expressions"].values()]
        assert len(set(texts)) == len(texts)
        for expression in video["expressions"].values():
            if not expression["anno_id"]:
                continue
            colour = next(c for c in COLOURS if c in expression["exp"])
            rgb = np.array(Image.new("RGB", (1, 1), colour))[0, 0].astype(int)
            mask = coco.decode(masks[str(expression["anno_id"][0])][0]) > 0
            picture = np.asarray(Image.open(folder / "JPEGImages" / name / "00000.jpg"))
            assert np.abs(np.median(picture[mask], axis=0) - rgb).max() < 60
    assert {tuple(e["obj_id"]) for v in meta.values() for e in v["expressions"].values()} >= {()}


def test_things_that_do_everything_and_stay_in_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(300):
        things = draw_things(rng, (480, 480), 36)
        said = sentences(things, 36, rng)
        assert said[-1][0] == "movement absent" and said[-2][0] == "looks absent"
        assert said[-1][1] not in [text for kind, text, *_ in said[:-2]]
        _, ids = draw_frames(things, Image.new("RGB", (480, 480)), 36)
        # covered by another now and then, never gone to the side
        last = ids[-1]
        assert all(
            thing.action in (None, "jump", "spin", "grow", "shrink")
            or (last == i).any()
            or len(things) > 1
            for i, thing in enumerate(things, 1)
        )


def test_bad_input_takes_one_line(tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "out"), "--videos", "1"]
    assert main([*arguments, "--pictures", str(tmp_path)]) == 2
    assert "no .jpg or .png" in capsys.readouterr().err
    (tmp_path / "broken.png").write_text("no picture")
    assert main([*arguments, "--pictures", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "broken.png" in error and error.count("\n") == 1
    assert not any((tmp_path / "out").glob("**/*.json"))
    assert main(arguments) == 0 and main(arguments) == 2
    assert "not empty" in capsys.readouterr().err
