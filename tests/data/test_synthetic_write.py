"""The data set on disk: MeViS layout, moments, masks, and the command line."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.data.synthetic.__main__ import main
from tgl_e2e.data.synthetic.record import Recording, record, through_h264
from tgl_e2e.video.reader import open_video


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a split of three videos."""
    output = tmp_path_factory.mktemp("motion")
    assert main(arguments(output)) == 0
    return output / "valid_u"


def arguments(output, **options) -> list[str]:
    chosen = {"split": "valid_u", "videos": 3, "seed": 2, "size": 64} | options
    return ["--output", str(output), *(w for k, v in chosen.items() for w in (f"--{k}", str(v)))]


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_round_trip(written):
    meta, moments = read(written, "meta_expressions.json"), read(written, "moments.json")
    masks, scenes = read(written, "mask_dict.json"), read(written, "scenes.json")
    assert moments["version"] == 1
    assert list(meta["videos"]) == list(moments["videos"]) == list(scenes["videos"])
    assert len(meta["videos"]) == 3
    seen = set()
    for video, entry in meta["videos"].items():
        scene = make_scene(scenes["videos"][video]["seed"], "full", "valid_u")
        drawn = render(scene, range(scene.num_frames), 64)
        assert entry["frames"] == [f"{t:05d}" for t in range(scene.num_frames)]
        for t, name in enumerate(entry["frames"]):
            picture = np.asarray(Image.open(written / "JPEGImages" / video / f"{name}.jpg"))
            assert np.abs(picture.astype(int) - drawn.rgb[t]).mean() < 12
        for n, expression in enumerate(scene.expressions):
            stored = entry["expressions"][str(n)]
            assert stored["exp"] == expression.text
            assert stored["obj_id"] == list(expression.objects)
            spans = moments["videos"][video]["expressions"][str(n)]["objects"]
            assert {int(i): [tuple(s) for s in v] for i, v in spans.items()} == expression.moments
            facts = scenes["videos"][video]["expressions"][str(n)]
            assert facts["kind"] == expression.kind and set(facts["cues"]) == expression.cues
            for index, anno in zip(stored["obj_id"], stored["anno_id"], strict=True):
                seen.add(anno)
                for t, rle in enumerate(masks[str(anno)]):
                    mask = np.zeros((64, 64), bool) if rle is None else coco.decode(rle) > 0
                    assert (rle is None) == (not mask.any())
                    assert np.array_equal(mask, drawn.ids[t] == index + 1)
    assert seen <= {int(anno) for anno in masks}
    assert sum(len(v["objects"]) for v in scenes["videos"].values()) == len(masks)


def test_same_bytes_and_a_report(written, tmp_path, capsys):
    assert main(arguments(tmp_path)) == 0
    report = capsys.readouterr().out
    for word in ("several", "appearance alone", "mean", "frames/s"):
        assert word in report
    files = sorted(p.relative_to(written) for p in written.rglob("*") if p.is_file())
    for file in files:
        assert (written / file).read_bytes() == (tmp_path / "valid_u" / file).read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["valid_u"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "valid").mkdir()
    assert main(arguments(tmp_path, split="valid", videos=1, level="easy", size=32)) == 0
    assert (tmp_path / "valid" / "moments.json").exists()


@pytest.mark.parametrize(
    "option, value",
    [
        ("split", "test"),
        ("level", "hard"),
        ("videos", 0),
        ("size", 4),
        ("seed", -1),
        ("size", "x"),
        ("size", "64x64x64"),
        ("frames", 5),
        ("every", 0),
        ("crf", 60),
    ],
)
def test_bad_options_take_one_line(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        main(arguments(tmp_path / "out", **{option: value}))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1 and option in error
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(written, capsys):
    before = (written / "moments.json").read_bytes()
    assert main(arguments(written.parent)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "not empty" in error and "--output" in error
    assert (written / "moments.json").read_bytes() == before


def test_output_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(arguments(tmp_path / "file")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--output" in error


def test_a_set_recorded_in_another_way(tmp_path):
    options = {"videos": 2, "size": "48x80", "frames": 60, "every": 3, "crf": 40, "level": "easy"}
    assert main([*arguments(tmp_path, **options), "--clutter"]) == 0
    folder = tmp_path / "valid_u"
    meta, moments = read(folder, "meta_expressions.json"), read(folder, "moments.json")
    masks, scenes = read(folder, "mask_dict.json"), read(folder, "scenes.json")
    for video, entry in meta["videos"].items():
        scene = make_scene(scenes["videos"][video]["seed"], "easy", "valid_u", num_frames=60)
        assert len(entry["frames"]) == 20 and scenes["videos"][video]["fps"] == scene.fps / 3
        drawn = render(scene, range(0, 60, 3), (48, 80))
        difference = []
        for t, name in enumerate(entry["frames"]):
            picture = np.asarray(Image.open(folder / "JPEGImages" / video / f"{name}.jpg"))
            assert picture.shape == (48, 80, 3)
            difference.append(np.abs(picture.astype(int) - drawn.rgb[t])[drawn.ids[t] == 0].mean())
        assert min(difference) > 10  # another background
        texts = {e.text: e for e in scene.expressions}
        for n, stored in entry["expressions"].items():
            expression = texts[stored["exp"]]
            spans = moments["videos"][video]["expressions"][n]["objects"]
            for i, found in spans.items():
                relevant = np.isin(
                    np.arange(60),
                    [t for s, e in expression.moments[int(i)] for t in range(s, e + 1)],
                )
                kept = np.isin(np.arange(20), [t for s, e in found for t in range(s, e + 1)])
                assert np.array_equal(kept, relevant[::3]) and kept.any()
            for index, anno in zip(stored["obj_id"], stored["anno_id"], strict=True):
                for t, rle in enumerate(masks[str(anno)]):
                    mask = np.zeros((48, 80), bool) if rle is None else coco.decode(rle) > 0
                    assert np.array_equal(mask, drawn.ids[t] == index + 1)


def test_one_scene_as_a_video_file(tmp_path, capsys):
    path = tmp_path / "sample.mp4"
    command = ["--sample", "--split", "valid_u", "--seed", "5", "--level", "easy", "--size", "128"]
    assert main([*command, "--output", str(path)]) == 0
    scene = make_scene(5, level="easy", split="valid_u")
    assert len(list(open_video(path).frames())) == scene.num_frames
    told = capsys.readouterr().out
    for expression in scene.expressions:
        spans = sorted({span for spans in expression.moments.values() for span in spans})
        assert f'"{expression.text}"  {spans}' in told
    assert main([*command, "--output", str(tmp_path / "no" / "folder" / "x.mp4")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_videos_whose_moments_fall_between_frames_are_left_out(tmp_path, capsys):
    options = {"seed": 141, "every": 12, "size": 32}
    assert main(arguments(tmp_path, **options, videos=1)) == 2
    assert "lower --every" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
    assert main(arguments(tmp_path, **options, videos=2)) == 0
    assert len(read(tmp_path / "valid_u", "meta_expressions.json")["videos"]) == 1


def test_compression_costs_what_it_should():
    scene = make_scene(3, "easy", "valid_u")
    plain, fine, coarse = (
        record(scene, Recording((64, 64), crf=crf)).rgb for crf in (None, 10, 45)
    )
    errors = [np.abs(x.astype(int) - plain).mean() for x in (fine, coarse)]
    assert plain.shape == fine.shape == coarse.shape and 0 < errors[0] < errors[1] < 30


def test_compression_repeats_itself():
    # Blocks of random colours that change with every frame: what x264 plans ahead for.
    blocks = np.random.default_rng(0).integers(0, 255, (40, 8, 12, 3), np.uint8)
    frames = blocks.repeat(8, axis=1).repeat(8, axis=2)
    first = through_h264(frames, 35)
    assert all(np.array_equal(first, through_h264(frames, 35)) for _ in range(5))
