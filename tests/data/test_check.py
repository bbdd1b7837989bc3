"""The check of a data set's folder: every fault is named, and none ends the walk."""

import numpy as np
import pytest
from PIL import Image
from small_coco import write_coco
from small_sets import NAMES, WIDTH, edit_json, write_davis, write_mevis, write_refcoco, write_ytvos

from tgl_e2e.data.check import main
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.synthetic.__main__ import main as write_motion

WRITERS = {
    "mevis": write_mevis,
    "ref-youtube-vos": write_ytvos,
    "ref-davis": write_davis,
    "refcoco": write_refcoco,
}


def run(capsys, *arguments):
    """Exit status, lines of the report, lines of stderr without the progress bars."""
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out.splitlines(), [line for line in err.splitlines() if "data.check:" in line]


def problem(lines, what):
    """The one line that reports a kind of problem."""
    found = [line for line in lines if ": problem: " in line and what in line]
    assert len(found) == 1, (what, lines)
    return found[0]


@pytest.mark.parametrize("kind", WRITERS)
def test_clean_folders(tmp_path, capsys, kind):
    status, lines, _ = run(capsys, kind, WRITERS[kind](tmp_path))
    assert status == 0 and lines[-1].endswith(": no problem")
    assert not any("problem: " in line for line in lines)


def test_a_written_motion_set_is_clean_and_counted(tmp_path, capsys):
    arguments = ["--split", "valid_u", "--videos", "2", "--seed", "3", "--size", "64"]
    assert write_motion(["--output", str(tmp_path), *arguments]) == 0
    capsys.readouterr()
    status, lines, _ = run(capsys, "motion", tmp_path)
    assert status == 0, lines
    data = read_dataset("motion", tmp_path, "valid_u")
    frames = sum(video.num_frames for video in data.videos)
    assert lines[-1].startswith(f"valid_u: 2 videos, {data.num_expressions} expressions, ")
    assert f"{frames} frames: no problem" in lines[-1]


def test_notes_are_no_problems(tmp_path, capsys):
    write_mevis(tmp_path, moments=False)
    Image.new("RGB", (WIDTH, 9)).save(tmp_path / "train" / "JPEGImages" / "clip" / "extra.jpg")
    edit_json(tmp_path / "train" / "mask_dict.json", lambda c: c.update({"99": [None]}))
    status, lines, _ = run(capsys, "mevis", tmp_path, "--split", "train")
    assert status == 0
    for note in (
        "moments.json is missing: 1",
        "expressions without target: 1",
        "no expression names: 1 (99)",
        "not listed, and not read: 1",
    ):
        assert any("note: " in line and note in line for line in lines), (note, lines)


META, MASKS, MOMENTS = "meta_expressions.json", "mask_dict.json", "moments.json"


def expression(content, key="0"):
    return content["videos"]["clip"]["expressions"][key]


MEVIS_FAULTS = [
    (META, lambda c: expression(c).pop("exp"), "Unicode: 1 (video clip, expression 0"),
    (META, lambda c: expression(c).update(anno_id=[77]), "mask_dict.json does not have: 1 (video"),
    (META, lambda c: expression(c).update(anno_id=7), "obj_id or anno_id damaged: 1"),
    (META, lambda c: expression(c).update(obj_id=[]), "obj_id or anno_id damaged: 1"),
    (META, lambda c: c["videos"]["clip"]["frames"].append("x"), "not there: 1 ("),
    (META, lambda c: c["videos"]["clip"]["frames"].append("x"), "fewer masks than the video"),
    (META, lambda c: c["videos"]["clip"]["frames"].append(NAMES[0]), "frames listed twice: 1"),
    (META, lambda c: c["videos"].update(other=3), "no list of frames or expressions: 1"),
    (META, lambda c: c["videos"].update(o={"frames": [], "expressions": {}}), "no frame listed: 1"),
    (META, lambda c: c["videos"].update(o=c["videos"]["clip"]), "without a folder of frames: 1"),
    (MASKS, lambda c: c["12"][3].update(size=[WIDTH, WIDTH]), "annotation 12, frame 3: size [20, "),
    (MASKS, lambda c: c["12"][3].update(counts="zzz"), "of their picture: 1 (video clip"),
    (MASKS, lambda c: c["12"].pop(), "fewer masks than the video has frames: 1"),
    (MASKS, lambda c: c.update({"12": [None] * 4}), "annotations without any mask: 1"),
    (MASKS, lambda c: c.update({"12": 4}), "mask_dict.json that cannot be read: 1"),
    (MOMENTS, lambda c: c.update(version=3), "of another version or form: 1"),
    (MOMENTS, lambda c: c["videos"].update(other={}), "moments of unknown videos: 1 (video other)"),
    (MOMENTS, lambda c: c["videos"]["clip"]["expressions"].update({"9": 0}), "unknown expressions"),
    (MOMENTS, lambda c: c["videos"]["clip"]["expressions"].pop("0"), "no entry in moments.json"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"5": [[0, 0]]}), "unknown objects: 1"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"1": []}), "objects without moments: 1"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"*": [[0, 1]]}), 'moments of "*" and'),
    (MOMENTS, lambda c: expression(c)["objects"].update({"1": [[2, 4]]}), "outside the video: 1"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"1": [[-1, 2]]}), "outside the video: 1"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"1": [[2, 1]]}), "after their end: 1"),
    (MOMENTS, lambda c: expression(c)["objects"].update({"1": [[1.5, 2]]}), "moments that are no"),
    (MOMENTS, lambda c: expression(c, "1")["objects"].update({"2": [[0, 1]]}), "no mask at all: 1"),
    (MOMENTS, lambda c: expression(c, "2")["objects"].update({"1": [[0, 1]]}), "without target: 1"),
]


@pytest.mark.parametrize(("name", "change", "what"), MEVIS_FAULTS)
def test_faults_of_the_mevis_layout(tmp_path, capsys, name, change, what):
    edit_json(write_mevis(tmp_path) / "train" / name, change)
    status, lines, _ = run(capsys, "mevis", tmp_path)
    assert status == 1
    assert problem(lines, what).split(". ")[-1]  # a remedy
    assert lines[-1].endswith("of problem")


def test_all_faults_are_reported_at_once_with_counts(tmp_path, capsys):
    root = write_mevis(tmp_path) / "train"
    edit_json(root / META, lambda c: c["videos"].update(gone=c["videos"]["clip"]))
    edit_json(root / MOMENTS, lambda c: expression(c).update(objects={"1": [[7, 8], [9, 9]]}))
    edit_json(root / MASKS, lambda c: c["11"][0].update(size=[3, 3]))
    frames = sorted((root / "JPEGImages" / "clip").iterdir())
    frames[1].unlink()
    frames[2].write_bytes(b"\xff\xd8 nonsense")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(frames[3])
    status, lines, _ = run(capsys, "mevis", tmp_path)
    assert status == 1
    assert "2 (video clip, expression 0, object 1: [7, 8], frames are 0 to 3; video" in problem(
        lines, "outside the video"
    )
    for what in (
        "a folder of frames: 1 (",
        f"not there: 1 ({frames[1]})",
        "cannot be read: 1",
        "frames differ in size: 1 (clip)",
        "no entry in moments.json: 3",
        "size of their picture: 1",
    ):
        problem(lines, what)
    assert lines[-1].endswith("7 kinds of problem")


def test_faults_of_palette_annotations(tmp_path, capsys):
    root = write_ytvos(tmp_path)
    folder = root / "train" / "Annotations" / "003234408d"
    (folder / f"{NAMES[0]}.png").unlink()
    (folder / f"{NAMES[1]}.png").write_bytes(b"nonsense")
    Image.fromarray(np.zeros((3, 4), np.uint8), "P").save(folder / f"{NAMES[2]}.png")
    meta = root / "meta_expressions" / "train" / META

    def change(content):
        content["videos"]["0043f083b5"]["expressions"]["0"]["obj_id"] = "9"
        content["videos"]["0043f083b5"]["expressions"]["1"] = {"exp": "x", "obj_id": "a"}

    edit_json(meta, change)
    status, lines, _ = run(capsys, "ref-youtube-vos", root, "--split", "train")
    assert status == 1
    for what in (
        "frames without an annotation: 1",
        "cannot be read: 1",
        "in size from their picture: 1",
        "shows: 1 (video 0043f083b5, expression 0, obj",
        "damaged: 1 (video 0043f083b5, expression 1: obj_id a",
    ):
        problem(lines, what)
    edit_json(meta, lambda c: c["videos"]["0043f083b5"].pop("frames"))
    problem(run(capsys, "ref-youtube-vos", root)[1], "no list of frames or expressions: 1")


def test_annotations_of_no_expression_are_left_alone(tmp_path, capsys):
    root = write_ytvos(tmp_path)  # as in `valid`, where other tasks have first frames
    folder = root / "valid" / "Annotations" / "0062f687f1"
    folder.mkdir(parents=True)
    (root / "train" / "Annotations" / "003234408d" / f"{NAMES[0]}.png").rename(folder / "0.png")
    assert run(capsys, "ref-youtube-vos", root, "--split", "valid")[0] == 0


def test_moments_of_palette_videos_are_held_against_the_annotations(tmp_path, capsys):
    root = write_davis(tmp_path)
    known = {str(n): {"objects": {str(n // 4 + 1): [[0, 3]]}} for n in range(8)}
    known["7"] = {"objects": {"2": [[0, 1]]}}
    path = root / "meta_expressions" / "valid" / MOMENTS
    path.write_text("{}")
    edit_json(path, lambda c: c.update(version=1, videos={"blackswan": {"expressions": known}}))
    status, lines, _ = run(capsys, "ref-davis", root)
    assert status == 1
    assert "expression 7, object 2: [0, 1]" in problem(lines, "no mask at all: 1")
    assert any("no mask in some of the frames: 3" in line for line in lines)  # a note


def test_davis_needs_four_expressions_per_object(tmp_path, capsys):
    path = write_davis(tmp_path) / "meta_expressions" / "valid" / META
    edit_json(path, lambda c: c["videos"]["blackswan"]["expressions"].pop("3"))
    status, lines, _ = run(capsys, "ref-davis", tmp_path)
    assert status == 1 and "video blackswan: objects 1, 1, 1, 2" in problem(lines, "four expr")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda c: c["images"][0].pop("height"), "image entries without id, file_name"),
        (lambda c: c["images"][0].update(height=-3), "image entries without id, file_name"),
        (lambda c: c["images"][0].pop("caption"), "no text, or none in Unicode: 1 (image entry 1)"),
        (lambda c: c["images"][0].update(id=2), "stand there twice: 1 (image entry 2)"),
        (lambda c: c["images"][3].update(file_name="x.jpg"), "pictures that are not there: 1"),
        (lambda c: c["images"][0].update(width=7), "differ in size from their picture: 1"),
        (lambda c: c["annotations"].pop(), "sentences without an annotation: 1 (image entry 4)"),
        (lambda c: c["annotations"][0].update(image_id=9), "unknown image entries: 1 (annot"),
        (lambda c: c["annotations"][0].pop("id"), "annotations without id"),
        (lambda c: c["annotations"][0].update(segmentation=[[1]]), "be drawn: 1 (image entry 1"),
        (lambda c: c["annotations"][3]["segmentation"].update(counts="zzz"), "cannot be drawn: 1"),
    ],
)
def test_faults_of_refcoco(tmp_path, capsys, change, what):
    path = write_refcoco(tmp_path) / "refcoco" / "instances_refcoco_train.json"
    edit_json(path, change)
    status, lines, _ = run(capsys, "refcoco", tmp_path)
    assert status == 1
    problem(lines, what)
    assert [line for line in lines if line.startswith("val: ")][-1].endswith("no problem")


def test_a_folder_in_the_format_of_coco(tmp_path, capsys):
    write_coco(tmp_path)
    status, lines, _ = run(capsys, "coco", tmp_path)
    assert status == 0 and lines[-1].startswith("train: 2 videos, ")
    edit_json(tmp_path / "instances_train.json", lambda c: c.pop("images"))
    status, _, errors = run(capsys, "coco", tmp_path)
    assert status == 2 and "not of COCO's format" in errors[0]


def test_what_cannot_be_read_at_all_ends_with_status_2(tmp_path, capsys):
    status, lines, errors = run(capsys, "mevis", tmp_path / "nowhere")
    assert status == 2 and not lines and "no such folder" in errors[0]
    status, _, errors = run(capsys, "refcoco+", write_refcoco(tmp_path))
    assert status == 2 and "refcoco+/instances_refcoco+_<split>.json is expected" in errors[0]
    write_mevis(tmp_path / "m")
    write_mevis(tmp_path / "m", "valid_u")
    (tmp_path / "m" / "train" / META).write_text("{")
    status, lines, errors = run(capsys, "mevis", tmp_path / "m")
    assert status == 2 and len(errors) == 1 and "not a JSON file" in errors[0]
    assert lines[-1].startswith("valid_u: 1 videos")  # the other split is checked all the same
    assert run(capsys, "mevis", tmp_path / "m", "--split", "test")[0] == 2
    with pytest.raises(SystemExit) as caught:
        main(["nothing", str(tmp_path)])
    assert caught.value.code == 2


def test_names_and_order_of_frames_are_looked_at(tmp_path, capsys):
    folder = write_mevis(tmp_path)
    meta = tmp_path / "train" / "meta_expressions.json"
    edit_json(meta, lambda c: c["videos"]["clip"]["frames"].reverse())
    _, lines, _ = run(capsys, "mevis", tmp_path)
    problem(lines, "not listed in the order of time: 1")
    edit_json(
        meta,
        lambda c: c["videos"].update(
            words={"frames": ["f1", "f10", "f9"], "expressions": {"0": {"exp": "a dog"}}}
        ),
    )
    _, lines, _ = run(capsys, "mevis", tmp_path)
    problem(lines, "not listed in the order of time: 2")
    edit_json(meta, lambda c: c["videos"].update({"../x": c["videos"]["clip"]}))
    _, lines, _ = run(capsys, "mevis", tmp_path)
    problem(lines, "no safe name of a file: 1")
    assert folder
