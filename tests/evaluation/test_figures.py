"""Pictures of evaluations: every command writes its picture from real files."""

import numpy as np
import pytest
import torch
from PIL import Image

from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.evaluate import main as evaluate
from tgl_e2e.evaluation.figures.__main__ import main
from tgl_e2e.evaluation.figures.samples import EvaluationFolder, telling_frames
from tgl_e2e.evaluation.figures.sheets import (
    LIT,
    PREDICTED,
    GridRow,
    compose,
    panel,
    principal_colours,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two evaluations of one small data set: `a` from given moments, `b` of every frame."""
    folder = tmp_path_factory.mktemp("evaluations")
    write_split(folder / "data", "valid_u", 2, seed=1, level="easy", recording=Recording((48, 48)))
    torch.manual_seed(0)
    TGL(TGLConfig.from_preset("tiny"), pretrained=False).save_pretrained(folder / "network")
    for name, moments in (("a", "oracle"), ("b", "all")):
        assert (
            evaluate(
                [
                    "--checkpoint",
                    str(folder / "network"),
                    "--dataset",
                    "motion",
                    "--root",
                    str(folder / "data"),
                    "--moments",
                    moments,
                    "--output",
                    str(folder / name),
                ]
            )
            == 0
        )
    return folder


@pytest.fixture(scope="module")
def name(folder):
    evaluation = EvaluationFolder(folder / "a")
    return next(s.name for s in evaluation.ranked() if not s.expression.no_target)


def test_samples_are_read_back(folder, name):
    evaluation = EvaluationFolder(folder / "a")
    sample = evaluation.sample(name)
    assert evaluation.label == "tiny, oracle"
    assert sample.row["text"] == sample.expression.text
    scores = [s.row["J&F"] for s in evaluation.ranked()]
    assert scores == sorted(scores) and len(scores) == len(evaluation.rows)
    frames = telling_frames(sample, 6)
    relevant = sample.expression.relevant(sample.video.num_frames)
    assert frames == sorted(set(frames)) and len(frames) == 6 and relevant[frames].sum() == 3
    area = sum(evaluation.mask(sample, t).sum() for t in range(sample.video.num_frames))
    assert bool(area) == sample.row["answered"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["moments", "a", "b", "--sample", "NAME", "NAME"],
        ["features", "a", "--sample", "NAME"],
        ["compare", "a", "b", "--labels", "first", "second", "--sample", "NAME"],
        ["sheet", "a", "--worst", "2", "--best", "1"],
    ],
)
def test_pictures(folder, name, tmp_path, capsys, arguments):
    given = [name if x == "NAME" else str(folder / x) if x in ("a", "b") else x for x in arguments]
    assert main([*given, "--output", str(tmp_path / "out.png")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[0] > 300 and pixels.shape[1] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sheet", "nowhere", "--output", "out.png"], "no output of tgl_e2e.evaluate"),
        (["sheet", "a", "--output", "out.gif"], "ends in .png"),
        (["sheet", "a", "--output", "no/out.png"], "no folder that can be written to"),
        (["moments", "a", "--sample", "x/0", "--output", "out.png"], "has no sample 'x/0'"),
        (["moments", "a", "--sample", "x/0", "--output", "out.mp4"], "ends in .png"),
        (["sheet", "a", "--worst", "0", "--best", "0", "--output", "out.png"], "one or more"),
        (["sheet", "a", "--labels", "x", "y", "--output", "out.png"], "2 for 1"),
    ],
)
def test_bad_input_is_one_line(folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [str(folder / x) if x == "a" else x for x in arguments]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("figures: error: ") and error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []


def test_panels_show_prediction_truth_and_moment():
    rgb = np.full((60, 80, 3), 200, np.uint8)
    predicted, truth = np.zeros((2, 60, 80), bool)
    predicted[10:30, 10:30] = True
    truth[10:30, 40:60] = True
    plain = panel(rgb, 160)
    assert plain.shape == (120, 160, 3) and (plain == 200).all()
    out = panel(rgb, 160, predicted, truth, lit=True)
    assert (out[40, 40] == 200).all()  # inside the prediction
    assert tuple(out[20, 40]) == PREDICTED  # its upper edge
    assert (out[90, 20] < 100).all()  # dim elsewhere
    assert (out[18, 100] == 255).all() and (out[17, 100] == 0).all()  # around the truth
    assert tuple(out[-1, 0]) == LIT
    assert (panel(rgb, 160, np.zeros_like(truth)) < 100).all()


def test_grid_holds_every_picture_and_any_text():
    cell = np.full((50, 70, 3), 30, np.uint8)
    rows = [GridRow(["caption " * 30, "犬"], [cell, cell]), GridRow([], [cell])]
    out = compose("a title " * 40, rows, ["head", "another"], "note")
    assert (out == 30).all(axis=-1).sum() >= 3 * 50 * 70
    assert compose("", [GridRow((), [cell])]).shape[0] > 50


def test_principal_colours_tell_parts_apart():
    torch.manual_seed(0)
    features = torch.randn(2, 16, 8, 8) * 0.01
    features[:, 0, :, :4] += 5  # left and right differ in one channel
    colours = principal_colours(features).astype(int)
    assert colours.shape == (2, 8, 8, 3)
    left, right = colours[:, :, :4, 0].mean(), colours[:, :, 4:, 0].mean()
    assert abs(left - right) > 150
    assert (principal_colours(torch.zeros(1, 4, 2, 2)) == 0).all()
