"""Moments from spreadsheets and back, united, and held against a data set."""

import json
import os
from pathlib import Path

import pytest
from small_sets import write_json, write_mevis, write_ytvos

from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.data.moments import main
from tgl_e2e.data.moments_json import merge, read_moments, unite, write_moments
from tgl_e2e.data.moments_table import TableError, format_table, read_table
from tgl_e2e.errors import InputError

MOMENTS = {
    "0043e083b5": {"0": {"1": [(0, 4), (8, 9)], "2": [(3, 3)]}, "1": {"*": [(2, 6)]}, "2": {}},
    "00012": {"0": {"5": []}},
}
TABLE = """video,expression,object,start,end
0043e083b5,0,1,0,4
0043e083b5,0,1,8,9
0043e083b5,0,2,3,3
0043e083b5,1,*,2,6
0043e083b5,2,,,
00012,0,5,,
"""


def run(capsys, *arguments):
    """Exit status, stdout, lines of stderr."""
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err.splitlines()


def table(tmp_path, text, name="moments.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def test_to_json_and_back(tmp_path, capsys):
    path, back = tmp_path / "moments.json", tmp_path / "back.csv"
    source = table(tmp_path, TABLE)
    assert run(capsys, "to-json", source, "--output", path) == (0, "", [])
    assert read_moments(path) == MOMENTS
    assert json.loads(path.read_text())["version"] == 1
    assert run(capsys, "to-csv", path, "--output", back) == (0, "", [])
    assert back.read_text() == TABLE == format_table(MOMENTS)
    run(capsys, "to-csv", path, "--delimiter", "tab", "--output", back)
    assert back.read_text() == TABLE.replace(",", "\t")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.csv", "moments.csv", "moments.json"]


@pytest.mark.parametrize(
    ("change", "encoding"),
    [
        (lambda t: t, "utf-8-sig"),
        (lambda t: t.replace(",", ";"), "utf-8"),
        (lambda t: t.replace(",", "\t").replace("\n", "\r\n"), "utf-16"),
        (lambda t: t.replace("\n", "\n,,,,\n\n"), "utf-8"),
        (lambda t: t.replace(",", " , ").replace("end", "End"), "utf-8"),
        (lambda t: t.replace("\n", ",a comment\n"), "utf-8"),
        (lambda t: t.replace(",2,,,", ",2"), "utf-8"),  # a row cut short
        (lambda t: t.replace("00012", '"00012"'), "utf-8"),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, change, encoding):
    moments, notes = read_table(table(tmp_path, change(TABLE), encoding=encoding))
    assert moments == MOMENTS and not notes


def test_columns_in_any_order(tmp_path):
    text = "end;object;comment;start;video;expression\n4;1;x;0;a;0\n"
    assert read_table(table(tmp_path, text))[0] == {"a": {"0": {"1": [(0, 4)]}}}


def test_overlaps_are_united_and_said(tmp_path, capsys):
    rows = "a,0,1,5,9\na,0,1,0,6\na,0,1,20,21\n"
    source = table(tmp_path, f"video,expression,object,start,end\n{rows}")
    status, _, errors = run(capsys, "to-json", source, "--output", tmp_path / "m.json")
    assert status == 0 and len(errors) == 1 and "row 3: overlaps" in errors[0]
    assert read_moments(tmp_path / "m.json") == {"a": {"0": {"1": [(0, 9), (20, 21)]}}}
    assert unite([(3, 4), (0, 1), (2, 2), (6, 7)]) == [(0, 4), (6, 7)] and unite([]) == []


FAULTS = [
    ("a,0,1,5,4", "row 2, column start: 5 is after the end, 4"),
    ("a,0,1,3.0,4", "row 2, column start: '3.0' is no frame position; write 3"),
    ("a,0,1,0:03,4", "row 2, column start: '0:03' is no frame position; give"),
    ("a,0,1,-1,4", "row 2, column start: '-1' is no frame position"),
    ("a,0,1,3,", "row 2, column end: is empty; give both"),
    ("a,0,1,3,4000000", "row 2, column end: 4000000 is no frame position; no video"),
    ("a,0,,3,4", "row 2, column object: is empty; write the object, or *"),
    (",0,1,3,4", "row 2, column video: is empty"),
    ("a,,1,3,4", "row 2, column expression: is empty"),
    ("a,0,3.0,3,4", "row 2, column object: '3.0' looks like an id that became a number"),
    ("a,1.0,3,3,4", "row 2, column expression: '1.0' looks like"),
    ("4.3E+86,0,3,3,4", "row 2, column video: '4.3E+86' looks like"),
    ("a,0,1,3,4\n\na,0,1,3,4", "row 4: repeats row 2"),
    ("a,0,1,3,4\na,0,*,3,4", "row 3, column object: '*' beside rows of '1'"),
    ("a,0,*,3,4\na,0,1,3,4", "row 3, column object: '1' beside rows of '*'"),
    ("a,0,1,3,4\na,0,,,", "row 3, column object: '' beside rows of '1'"),
    ("a,0,,,\na,0,1,3,4", "row 3, column object: '1' beside rows of 'no target'"),
]


@pytest.mark.parametrize(("rows", "message"), FAULTS)
def test_faults_name_file_row_and_column(tmp_path, capsys, rows, message):
    source = table(tmp_path, f"video,expression,object,start,end\n{rows}\n")
    status, _, errors = run(capsys, "to-json", source, "--output", tmp_path / "m.json")
    assert status == 2 and f"{source}: {message}" in errors[0], errors
    assert errors[-1].endswith("nothing was written") and not (tmp_path / "m.json").exists()


def test_all_faults_are_told(tmp_path, capsys):
    source = table(tmp_path, "video,expression,object,start,end\na,0,3.0,x,y\nb,,1,2,1\n")
    with pytest.raises(TableError, match=r"row 2, column object.*and 4 more"):
        read_table(source)
    _, _, errors = run(capsys, "to-json", source, "--output", tmp_path / "m.json")
    assert ["row 2" in e for e in errors] == [True] * 3 + [False] * 3
    source = table(tmp_path, "video,expression,object,start,end\n" + "a,0,1,x,1\n" * 70)
    errors = run(capsys, "to-json", source, "--output", tmp_path / "m.json")[2]
    assert len(errors) == 52 and errors[50].endswith("more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1, column video: is missing"),
        (b"video,expression,object,start\na,0,1,2\n", "column end: is missing"),
        (b"video,video,expression,object,start,end\n", "column video: is there twice"),
        (b"video,expression,object,start,end\n\xe9,0,1,2,3\n", "save it as CSV UTF-8"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, capsys, content, message):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    status, _, errors = run(capsys, "to-json", path, "--output", tmp_path / "m.json")
    assert status == 2 and len(errors) == 1 and message in errors[0]
    assert run(capsys, "to-json", tmp_path / "no.csv", "--output", tmp_path / "m.json")[0] == 2


def test_ids_and_frames_are_held_against_the_data_set(tmp_path, capsys):
    root = write_ytvos(tmp_path / "data")
    head = "video,expression,object,start,end\n"
    arguments = ("--output", tmp_path / "m.json", "--root", root, "--split", "train")
    rows = {
        "003234408d,0,1,0,4": "row 2, column end: 4 lies outside the video, whose last frame is 3",
        "3234408d,0,1,0,3": "column video: '3234408d' is unknown, there is 003234408d",
        "003234408d,0.0,1,0,3": "column expression: '0.0' is unknown, there is 0",
        "003234408d,7,1,0,3": "column expression: '7' is unknown, there is 1, 0",
        "003234408d,0,1.0,0,3": "column object: '1.0' is unknown, there is 1",
        "003234408d,0,2,0,3": "column object: '2' is unknown, there is 1",
        "003234408d,0,,,": "column object: is empty, but the expression means 1",
    }
    for row, message in rows.items():
        status, _, errors = run(capsys, "to-json", table(tmp_path, f"{head}{row}\n"), *arguments)
        assert status == 2 and message in errors[0], errors
    good = table(tmp_path, f"{head}003234408d,0,1,0,3\n0043f083b5,0,*,1,1\n")
    assert run(capsys, "to-json", good, *arguments)[0] == 0
    assert run(capsys, "to-json", good, *arguments[:4])[0] == 2  # a root without its split
    assert run(capsys, "to-json", good, *arguments[:-1], "other")[0] == 2


def test_a_converted_table_is_read_with_the_data_set(tmp_path, capsys):
    root = write_mevis(tmp_path, moments=False)
    source = table(
        tmp_path,
        "video,expression,object,start,end\nclip,0,1,1,2\nclip,1,1,0,0\nclip,1,2,2,3\nclip,2,,,\n",
    )
    path = root / "train" / "moments.json"
    arguments = ("--root", root, "--split", "train")
    assert run(capsys, "to-json", source, "--output", path, *arguments)[0] == 0
    one, both, nothing = read_dataset("mevis", root, "train").videos[0].expressions
    assert one.moments == {"1": ((1, 2),)} and both.moments == {"1": ((0, 0),), "2": ((2, 3),)}
    assert nothing.moments == {}
    status, out, _ = run(capsys, "validate", path, *arguments)
    assert status == 0 and out.splitlines()[-1].endswith("no problem")


def test_validate_reports_every_problem(tmp_path, capsys):
    root = write_mevis(tmp_path)
    path = tmp_path / "m.json"
    known = {"0": {"1": [(2, 9)]}, "1": {"1": [(0, 1)]}, "8": {"1": [(0, 1)]}}
    write_moments(path, {"clip": known})
    status, out, _ = run(capsys, "validate", path, "--root", root, "--split", "train")
    assert status == 1
    for what in (
        "outside the video: 1",
        "objects without moments: 1",
        "unknown expressions: 1",
        "no entry in moments.json: 1 (video clip, expression 2)",
    ):
        assert what in out
    arguments = ("--root", root, "--split", "train")
    assert run(capsys, "validate", tmp_path / "none.json", *arguments)[0] == 2
    assert run(capsys, "validate", path, "--root", root, "--split", "nowhere")[0] == 2


def test_masks_stay_closed_and_old_moments_may_be_broken(tmp_path, capsys):
    root = write_mevis(tmp_path)
    (root / "train" / "mask_dict.json").write_text("{")
    path = root / "train" / "moments.json"
    arguments = ("--root", root, "--split", "train")
    assert run(capsys, "validate", path, *arguments)[0] == 0
    assert run(capsys, "to-csv", path, "--output", tmp_path / "m.csv")[0] == 0
    good = path.read_text()
    path.write_text("{")
    assert run(capsys, "validate", path, *arguments)[0] == 1
    assert run(capsys, "to-json", tmp_path / "m.csv", "--output", path, *arguments)[0] == 0
    assert json.loads(path.read_text()) == json.loads(good)


def test_merge_unites_and_tells_where_files_differ(tmp_path, capsys):
    first = {"a": {"0": {"1": [(0, 4)], "2": [(1, 1)]}, "1": {}}, "b": {"0": {"*": [(0, 0)]}}}
    second = {
        "a": {"0": {"1": [(3, 6), (9, 9)], "3": [(1, 1)]}, "1": {"4": [(2, 2)]}},
        "b": {"0": {"*": [(0, 0)]}},
        "c": {"0": {}},
    }
    write_moments(tmp_path / "1.json", first)
    write_moments(tmp_path / "2.json", second)
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    status, _, errors = run(capsys, "merge", *files, "--output", tmp_path / "m.json")
    assert status == 0 and len(errors) == 2
    assert f"0, object 1: [0, 4] in {files[0]}, [3, 6], [9, 9] in {files[1]}" in errors[0]
    assert f"expression 1: has a target in {files[1]}, none in {files[0]}" in errors[1]
    assert read_moments(tmp_path / "m.json") == {
        "a": {"0": {"1": [(0, 6), (9, 9)], "2": [(1, 1)], "3": [(1, 1)]}, "1": {"4": [(2, 2)]}},
        "b": {"0": {"*": [(0, 0)]}},
        "c": {"0": {}},
    }
    one = {"a": {"0": {"1": [(0, 1), (2, 3)]}}}
    assert merge({"x": one, "y": {"a": {"0": {"1": [(0, 3)]}}}}) == (
        {"a": {"0": {"1": [(0, 3)]}}},
        [],
    )


def test_merge_refuses_what_cannot_be_united(tmp_path, capsys):
    write_moments(tmp_path / "1.json", {"a": {"0": {"1": [(0, 4)]}}})
    write_moments(tmp_path / "2.json", {"a": {"0": {"*": [(0, 4)]}}})
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    status, _, errors = run(capsys, "merge", *files, "--output", tmp_path / "m.json")
    assert status == 2 and len(errors) == 1 and "keep one of them" in errors[0]
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"version": 2, "videos": {}},
        {"version": 1},
        [],
        {"version": 1, "videos": {"a": {"expressions": {"0": {"objects": {"1": [[3, 2]]}}}}}},
        {"version": 1, "videos": {"a": {"expressions": {"0": {"objects": {"1": [[1.0, 2]]}}}}}},
        {"version": 1, "videos": {"a": {"expressions": {"0": {"objects": {"1": [[1]]}}}}}},
        {"version": 1, "videos": {"a": {"expressions": {"0": {"objects": [[1, 2]]}}}}},
    ],
)
def test_a_damaged_moments_file_is_named(tmp_path, capsys, content):
    path = tmp_path / "moments.json"
    write_json(path, content)
    with pytest.raises(InputError, match=r"moments\.json: "):
        read_moments(path)
    status, _, errors = run(capsys, "to-csv", path, "--output", tmp_path / "m.csv")
    assert status == 2 and len(errors) == 1 and not (tmp_path / "m.csv").exists()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, capsys):
    source = table(tmp_path, TABLE)
    status, _, errors = run(capsys, "to-json", source, "--output", tmp_path / "no" / "m.json")
    assert status == 2 and "cannot be written" in errors[0]
    (tmp_path / "folder").mkdir()
    status, _, errors = run(capsys, "to-json", source, "--output", tmp_path / "folder")
    assert status == 2 and "cannot be written" in errors[0]
    assert sorted(os.listdir(tmp_path)) == ["folder", "moments.csv"]
    old = tmp_path / "m.json"
    old.write_text("old")
    source = table(tmp_path, TABLE + "a,0,1,2,1\n")
    assert run(capsys, "to-json", source, "--output", old)[0] == 2 and old.read_text() == "old"


def test_moments_from_masks_are_those_of_the_reader(tmp_path, capsys, caplog):
    root = write_ytvos(tmp_path)
    path = root / "meta_expressions" / "train" / "moments.json"
    arguments = ("from-masks", "ref-youtube-vos", "--root", root, "--output", path, "--split")
    before = [
        dict(e.moments)
        for v in read_dataset("ref-youtube-vos", root, "train").videos
        for e in v.expressions
    ]
    assert run(capsys, *arguments, "train")[0] == 0
    caplog.clear()
    data = read_dataset("ref-youtube-vos", root, "train")
    assert [e.moments for v in data.videos for e in v.expressions] == before
    assert before[1] == {"2": ((2, 3),)} and not caplog.records
    status, _, errors = run(capsys, *arguments, "valid")
    assert status == 2 and "give a split that has them" in errors[-1]


def test_bad_usage(capsys):
    for arguments in ([], ["to-json"], ["to-xml", "a"], ["merge", "--output", "x"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert not Path("x").exists()
