"""Agreement of annotators, against values worked out by hand."""

import pytest

from tgl_e2e.data.agreement import temporal_iou
from tgl_e2e.data.annotations import Annotation, Journal
from tgl_e2e.data.moments import main
from tgl_e2e.data.moments_json import write_moments


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ([(0, 9)], [(5, 14)], 5 / 15),
        ([(0, 4), (5, 9)], [(0, 9)], 1.0),  # touching
        ([(0, 1), (4, 5)], [(1, 4)], 2 / 6),
        ([], [(3, 3)], 0.0),
        ([], [], 1.0),
    ],
)
def test_temporal_iou(first, second, iou):
    assert temporal_iou(first, second) == temporal_iou(second, first) == pytest.approx(iou)


def test_agree_names_the_worst(tmp_path, capsys):
    path = tmp_path / "annotations.jsonl"
    journal = Journal(path)

    def say(name: str, expression: str, objects: dict, state: str = "done") -> None:
        journal.append(Annotation("v", expression, name, 1, objects=objects, state=state))

    say("", "0", {"1": [(0, 99)]})  # stood there before
    say("anna", "0", {"1": [(0, 9)], "2": []})
    say("ben", "0", {"1": [(5, 14)], "2": []})
    say("anna", "1", {"1": [(0, 1)]})
    say("ben", "1", {"1": [(0, 0)]}, state="open")
    say("cleo", "1", {"1": [(1, 1)]})
    assert main(["agree", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "anna and ben: temporal IoU 0.667 in 2 objects, 1 of them at 0.5 or above",
        "anna and cleo: temporal IoU 0.500 in 1 objects, 1 of them at 0.5 or above",
        "0.33  video v, expression 0, object 1: anna [0, 9]; ben [5, 14]",
        "0.50  video v, expression 1, object 1: anna [0, 1]; cleo [1, 1]",
    ]
    assert main(["agree", str(path), "--worst", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_agree_takes_moments_of_each(tmp_path, capsys):
    files = [tmp_path / "anna.json", tmp_path / "ben.json"]
    for file, spans in zip(files, ([(0, 3)], [(0, 3), (9, 9)]), strict=True):
        write_moments(file, {"v": {"0": {"*": spans}}})
    assert main(["agree", *map(str, files)]) == 0
    assert "temporal IoU 0.800 in 1 objects" in capsys.readouterr().out
    assert main(["agree", str(files[0])]) == 2
    assert "agreement needs two annotators" in capsys.readouterr().err
