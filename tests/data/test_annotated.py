"""A split that is annotated in part: refused as it is, read as far as it is done."""

import json

import pytest
from small_sets import write_mevis

from tgl_e2e.data.annotations import Annotation, Journal
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.moments import main
from tgl_e2e.data.moments_json import read_moments, write_moments
from tgl_e2e.errors import InputError


def subset(capsys, root, output):
    """Exit status, and what was said."""
    status = main(["subset", "--root", str(root), "--split", "train", "--output", str(output)])
    out, err = capsys.readouterr()
    assert (out + err).count("\n") == 1
    return status, out + err


def test_a_split_annotated_in_part(tmp_path, capsys):
    root = write_mevis(tmp_path / "set")
    moments, output = root / "train" / "moments.json", root / "annotated"
    known = read_moments(moments)["clip"]
    write_moments(moments, {"clip": {"1": known["1"]}})
    with pytest.raises(InputError, match=r"expression 0: no entry.*data\.moments subset"):
        read_dataset("mevis", root, "train")
    status, said = subset(capsys, root, output)
    assert status == 0 and said.startswith("1 of 3 expressions, in 1 of 1 videos; left out: 2 not")
    assert said.endswith(f"--root {root} --split annotated\n")
    (video,) = read_dataset("mevis", root, "annotated").videos
    (both,) = video.expressions
    assert both.id == "1" and both.moments == {"1": ((0, 1),), "2": ((2, 3),)}
    assert both.masks.read(("1",), 0).any() and video.frames[0].is_file()
    listed = json.loads((output / "meta_expressions.json").read_text())["videos"]["clip"]
    assert listed["vid_id"] == 7 and list(listed["expressions"]) == ["1"]

    # What was begun and what cannot be told is not annotated, whatever else was said there before.
    write_moments(moments, {"clip": known})
    journal = Journal(root / "train" / "annotations.jsonl")
    spans = {"1": [(0, 1)], "2": []}
    journal.append(
        Annotation("clip", "0", "", objects={"1": [(1, 3)]}),
        Annotation("clip", "0", "anna", 1, objects={"1": [(1, 3)]}, state="unclear"),
        Annotation("clip", "1", "anna", 1, objects=spans),
    )
    status, said = subset(capsys, root, output)  # takes the earlier one's place
    assert (
        status == 0 and said.startswith("1 of 3") and "1 begun and not done, 1 that cannot" in said
    )
    assert [e.id for e in read_dataset("mevis", root, "annotated").videos[0].expressions] == ["2"]
    journal.append(Annotation("clip", "1", "ben", 1, objects=spans, state="done"))
    assert "left out: 1 that cannot be told" in subset(capsys, root, output)[1]
    assert sorted(path.name for path in root.iterdir()) == ["annotated", "train"]


def test_subsets_that_cannot_be(tmp_path, capsys):
    root = write_mevis(tmp_path / "set")
    status, said = subset(capsys, root, root / "train")
    assert status == 2 and "no earlier subset; give another --output" in said
    assert (root / "train" / "JPEGImages" / "clip").is_dir()
    write_moments(root / "train" / "moments.json", {})
    status, said = subset(capsys, root, root / "annotated")
    assert status == 2 and "no expression is annotated yet (3 not annotated)" in said
    (root / "train" / "moments.json").unlink()
    status, said = subset(capsys, root, root / "annotated")
    assert status == 2 and f"python -m tgl_e2e.app --root {root}" in said
    assert not (root / "annotated").exists()
