"""The command on every layout of data set, with a true network of random weights."""

import csv
import json
import zipfile

import numpy as np
import pytest
import torch
from data.small_sets import FRAMES, NAMES, write_davis, write_mevis, write_refcoco, write_ytvos
from PIL import Image

from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.evaluate import main
from tgl_e2e.evaluation.submission import check_submission
from tgl_e2e.metrics import contour_accuracy, region_similarity


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    TGL(TGLConfig.from_preset("tiny"), pretrained=False).save_pretrained(folder)
    return folder


def evaluate(checkpoint, dataset, root, split, output, *more):
    status = main(
        [
            "--checkpoint",
            str(checkpoint),
            "--dataset",
            dataset,
            "--root",
            str(root),
            "--split",
            split,
            "--output",
            str(output),
            "--device",
            "cpu",
            "--always-target",
            *more,
        ]
    )
    assert status == 0
    return json.loads((output / "metrics.json").read_text())


def test_mevis_with_a_sentence_without_target(checkpoint, tmp_path):
    root, out = write_mevis(tmp_path / "mevis"), tmp_path / "out"
    content = evaluate(checkpoint, "mevis", root, "train", out, "--submission", str(out / "s.zip"))
    data = read_dataset("mevis", root, "train")
    assert content["overall"]["num_expressions"] == data.num_expressions
    assert content["by_target"]["no_target"]["num_expressions"] == 1
    assert content["by_target"]["no_target"]["N-acc"] in (0, 100)
    assert check_submission(out / "s.zip", data) == data.num_expressions * FRAMES
    with zipfile.ZipFile(out / "s.zip") as file:
        assert f"clip/0/{NAMES[0]}.png" in file.namelist()


def test_ref_youtube_vos_valid_has_masks_to_send_and_no_scores(checkpoint, tmp_path):
    root, out = write_ytvos(tmp_path / "ytvos"), tmp_path / "out"
    content = evaluate(
        checkpoint, "ref-youtube-vos", root, "valid", out, "--submission", str(out / "s.zip")
    )
    assert content["overall"]["J&F"] is None and content["overall"]["num_expressions"] == 1
    with zipfile.ZipFile(out / "s.zip") as file:
        assert file.namelist() == [f"Annotations/0062f687f1/0/{name}.png" for name in NAMES]
    assert (out / "masks" / "Annotations" / "0062f687f1" / "0" / f"{NAMES[1]}.png").is_file()
    train = evaluate(checkpoint, "ref-youtube-vos", root, "train", tmp_path / "train")
    assert train["overall"]["J&F"] is not None and train["overall"]["num_expressions"] == 3


def test_ref_davis_averages_four_annotations_of_label_maps(checkpoint, tmp_path):
    root, out = write_davis(tmp_path / "davis"), tmp_path / "out"
    content = evaluate(checkpoint, "ref-davis", root, "valid", out)
    (video,) = read_dataset("ref-davis", root, "valid").videos
    by_annotation = content["breakdown"]["annotation"]
    assert list(by_annotation) == ["0", "1", "2", "3"]
    scores = []
    for a in range(4):  # once more, from the label maps as they lie there
        maps = [
            np.asarray(Image.open(out / "masks" / f"anno_{a}" / video.name / f"{name}.png"))
            for name in NAMES
        ]
        for o in range(2):
            truth = [video.expressions[4 * o + a].mask(t) for t in range(FRAMES)]
            found = np.stack([m == o + 1 for m in maps])
            scores.append(
                (
                    region_similarity(found, np.stack(truth)).mean(),
                    contour_accuracy(found, np.stack(truth)).mean(),
                )
            )
        j = 100 * np.mean([s[0] for s in scores[-2:]])
        assert by_annotation[str(a)]["J"] == pytest.approx(j, abs=1e-3)
    assert content["overall"]["J&F"] == pytest.approx(100 * np.mean(scores), abs=1e-3)
    assert content["matched"]["J&F"] >= content["overall"]["J&F"] - 1e-3


def test_refcoco_reports_what_images_are_reported_by(checkpoint, tmp_path):
    root, out = write_refcoco(tmp_path / "coco", "refcocog"), tmp_path / "out"
    content = evaluate(checkpoint, "refcocog", root, "val", out)
    assert content["config"]["arguments"]["moments"] == "all"
    assert content["images"]["mIoU"] == content["overall"]["J"]
    assert set(content["images"]) == {"mIoU", "oIoU", "P@0.5", "P@0.6", "P@0.7", "P@0.8", "P@0.9"}
    with (out / "per_expression.csv").open() as file:
        assert [row["text"] for row in csv.DictReader(file)] == [
            f"sentence {n}" for n in range(1, 5)
        ]
    name = "COCO_train2014_000000000001"
    assert (out / "masks" / name / "1" / f"{name}.png").is_file()
