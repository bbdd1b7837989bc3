"""The evaluation command: with a stand-in that knows the truth, and with a true random network."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from networks import build
from PIL import Image

import tgl_e2e
from tgl_e2e import TGL, TGLConfig
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.errors import InputError
from tgl_e2e.evaluate import main, parse_arguments
from tgl_e2e.evaluation.modes import moments_source
from tgl_e2e.evaluation.tables import main as tables
from tgl_e2e.metrics import region_similarity
from tgl_e2e.moments import check_inside, inside
from tgl_e2e.results import Segmentation, encode_mask

VIDEOS = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    write_split(folder, "valid_u", VIDEOS, seed=1, level="easy", recording=Recording((48, 48)))
    return folder


class Config:
    def to_dict(self):
        return {"name": "stand-in"}


class KnowingModel:
    """In place of TGL: a network without parameters."""

    config = Config()
    tam = object()
    text = build("tiny").text  # the true one: it says which expressions it cannot take

    @classmethod
    def from_pretrained(cls, folder, device="cpu", dtype=None):
        return cls()

    def parameter_counts(self):
        return {"total": 7, "trained": 3}


class KnowingSegmenter:
    """In place of VideoSegmenter: answers with the truth of the data set, and notes its calls."""

    calls = ()
    root = None
    interrupt_at = None

    def __init__(self, model, threshold, always_target, tam_stride, keep_logits):
        type(self).calls = []

    def segment(self, video, texts, moments):
        cls = type(self)
        if len(cls.calls) == cls.interrupt_at:
            raise KeyboardInterrupt
        (record,) = (v for v in read_mevis(cls.root, "valid_u").videos if v.frames == video.paths)
        assert texts == [e.text for e in record.expressions]
        cls.calls.append((record.name, moments))
        frames = range(record.num_frames)
        return [
            Segmentation(
                text=expression.text,
                num_frames=record.num_frames,
                size=record.size(),
                fps=24.0,
                frames=np.arange(record.num_frames),
                relevance=expression.relevant(record.num_frames).astype(np.float32),
                moments=expression.intervals(record.num_frames),
                rle=[encode_mask(expression.mask(t)) for t in frames],
            )
            for expression in record.expressions
        ]


@pytest.fixture
def knowing(root, monkeypatch):
    monkeypatch.setitem(tgl_e2e.__dict__, "TGL", KnowingModel)
    monkeypatch.setitem(tgl_e2e.__dict__, "VideoSegmenter", KnowingSegmenter)
    monkeypatch.setattr(KnowingSegmenter, "root", root)
    monkeypatch.setattr(KnowingSegmenter, "interrupt_at", None)
    return KnowingSegmenter


def run(root, output, *more):
    return main(
        [
            "--checkpoint",
            "none",
            "--dataset",
            "motion",
            "--root",
            str(root),
            "--split",
            "valid_u",
            "--output",
            str(output),
            "--device",
            "cpu",
            *more,
        ]
    )


def test_the_truth_scores_100(root, knowing, tmp_path, capsys):
    assert run(root, tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    overall = content["overall"]
    assert list(overall) == [
        "J",
        "F",
        "J&F",
        "top1",
        "R1@0.5",
        "R1@0.7",
        "mAP",
        "mAP@0.5",
        "mAP@0.75",
        "num_expressions",
    ]
    data = read_mevis(root, "valid_u")
    assert overall["num_expressions"] == data.num_expressions == len(content["expressions"])
    for key in ("J", "F", "J&F", "top1", "R1@0.5", "mAP"):
        assert overall[key] == 100
    assert 10 < content["chance"] < 70
    assert content["parameters"] == {"total": 7, "trained": 3}
    assert content["config"]["model"] == {"name": "stand-in"}
    assert content["config"]["arguments"]["threshold"] == 0.5
    assert content["versions"]["numpy"] == np.__version__
    assert set(content["videos"]) == {video.name for video in data.videos}
    assert set(content["breakdown"]) == {
        "level",
        "kind",
        "appearance_decides",
        "cues",
        "target",
        "relevant_share",
        "target_size",
        "distractors",
    }
    assert content["by_target"]["with_target"]["T-acc"] == 100
    assert list(content["breakdown"]["level"]) == ["easy"]
    kinds = content["breakdown"]["kind"].values()
    assert sum(kind["num_expressions"] for kind in kinds) == data.num_expressions

    with (tmp_path / "out" / "per_expression.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == data.num_expressions
    assert rows[0]["text"] == data.videos[0].expressions[0].text and float(rows[0]["J"]) == 100
    assert rows[0]["level"] == "easy"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "masks",
        "metrics.json",
        "per_expression.csv",
    ]
    printed = capsys.readouterr().out
    assert "top-1" in printed and "chance" in printed and "kind: " in printed
    # All expressions of a video went through the segmenter together.
    assert [name for name, _ in knowing.calls] == [video.name for video in data.videos]


def comparable(folder):
    content = json.loads((folder / "metrics.json").read_text())
    del content["timing"]
    return content


def test_interrupted_and_resumed_equals_uninterrupted(root, knowing, monkeypatch, tmp_path, capsys):
    assert run(root, tmp_path / "whole") == 0
    monkeypatch.setattr(knowing, "interrupt_at", 1)
    assert run(root, tmp_path / "parts") == 130
    assert not (tmp_path / "parts" / "metrics.json").exists()
    monkeypatch.setattr(knowing, "interrupt_at", None)
    assert run(root, tmp_path / "parts") == 2  # without --resume nothing is thrown away
    assert "--resume" in capsys.readouterr().err
    assert run(root, tmp_path / "parts", "--threshold", "0.4", "--resume") == 2
    assert "threshold" in capsys.readouterr().err
    assert run(root, tmp_path / "parts", "--resume") == 0
    assert len(knowing.calls) == VIDEOS - 1
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")
    assert not list((tmp_path / "parts").glob("partial*"))


def test_max_videos_and_masks(root, knowing, tmp_path):
    assert run(root, tmp_path, "--max-videos", "1") == 0
    video = read_mevis(root, "valid_u").videos[0]
    assert json.loads((tmp_path / "metrics.json").read_text())["dataset"]["videos"] == 1
    folders = sorted(p.name for p in (tmp_path / "masks" / video.name).iterdir())
    assert folders == sorted(e.id for e in video.expressions)
    for expression in video.expressions:
        for t, frame in enumerate(video.frames):
            path = tmp_path / "masks" / video.name / expression.id / f"{frame.stem}.png"
            picture = Image.open(path)
            assert picture.mode == "L"
            assert (np.asarray(picture) == 255 * expression.mask(t)).all()


def test_moments_modes(root, knowing, tmp_path):
    video = read_mevis(root, "valid_u").videos[0]
    truth = [tuple(e.intervals(video.num_frames)) for e in video.expressions]

    def spec(text):
        return moments_source(text)(video)

    assert spec("auto").kind == "auto" and spec("all").kind == "all"
    assert (spec("top-k:4").kind, spec("top-k:4").k) == ("top-k", 4)
    texts = [e.text for e in video.expressions]
    assert spec("oracle").kind == "intervals" and spec("oracle").intervals_for(texts) == truth
    assert (spec("oracle+top-k:3").kind, spec("oracle+top-k:3").k) == ("intervals+top-k", 3)
    with pytest.raises(InputError, match="oracle\\+top-k:0"):
        spec("oracle+top-k:0")

    # A retriever's output: intervals per video and expression.
    file = root / "valid_u" / "moments.json"
    assert spec(str(file)).intervals_for(texts) == truth
    assert spec(f"{file}+top-k:2").k == 2
    one_for_all = tmp_path / "moments.json"
    one_for_all.write_text("[[1, 3]]")
    assert spec(str(one_for_all)).intervals_for(texts) == [((1, 3),)] * len(texts)

    assert run(root, tmp_path / "out", "--moments", "oracle", "--max-videos", "1") == 0
    with pytest.raises(InputError, match="one list of intervals per text"):
        spec("oracle").intervals_for([*texts, "one more"])
    with pytest.raises(InputError, match="outside the video"):
        check_inside(spec("oracle"), 2, texts)
    ((name, given),) = knowing.calls
    assert name == video.name and given.intervals_for(texts) == truth


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "nowhere"], "nowhere: no such folder"),
        (["--moments", "nonsense"], "nonsense: neither"),
        (["--device", "cuda:77"], "--device cuda:77"),
    ],
)
def test_bad_input_is_one_line_and_status_2(root, knowing, tmp_path, capsys, more, message):
    assert run(root, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate: error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()


def test_an_expression_that_is_too_long_is_named_before_anything_runs(
    root, knowing, tmp_path, capsys
):
    copy = tmp_path / "root"
    shutil.copytree(root, copy)
    path = copy / "valid_u" / "meta_expressions.json"
    content = json.loads(path.read_text())
    name, video = list(content["videos"].items())[-1]
    key = list(video["expressions"])[-1]
    video["expressions"][key]["exp"] = "the circle " * 400
    path.write_text(json.dumps(content))
    knowing.calls = []
    assert run(copy, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"video {name}, expression {key}" in error and "shorten it" in error
    assert error.count("\n") == 1 and not knowing.calls


def test_senseless_options_are_refused_by_the_parser(capsys):
    needed = ["--checkpoint", "c", "--dataset", "motion", "--root", "r", "--output", "o"]
    assert parse_arguments(needed).moments == "auto"
    assert parse_arguments([*needed, "--dataset", "refcoco"]).moments == "all"
    splits = {
        "motion": "valid_u",
        "mevis": "valid_u",
        "ref-youtube-vos": "valid",
        "ref-davis": "valid",
        "refcocog": "val",
    }
    for dataset, split in splits.items():
        assert parse_arguments([*needed, "--dataset", dataset]).split == split
        assert parse_arguments([*needed, "--dataset", dataset, "--split", "x"]).split == "x"
    for wrong in (
        ["--threshold", "2"],
        ["--max-videos", "0"],
        ["--dataset", "other"],
        ["--no-masks", "--submission", "s.zip"],
    ):
        with pytest.raises(SystemExit) as caught:
            parse_arguments([*needed, *wrong])
        assert caught.value.code == 2
        assert "evaluate: error:" in capsys.readouterr().err


# With a true network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    TGL(TGLConfig.from_preset("tiny"), pretrained=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """One video of 8 frames and two expressions of the same words, with moments of their own."""
    root = tmp_path_factory.mktemp("short")
    split = root / "valid_u"
    (split / "JPEGImages" / "clip").mkdir(parents=True)
    tracks = np.zeros((2, 8, 32, 48), dtype=bool)
    for t in range(8):
        tracks[0, t, 4:12, 4 * t : 4 * t + 8] = True
        tracks[1, t, 20:28, 20:28] = True
        picture = 60 + 90 * tracks[:, t].astype(np.uint8).sum(axis=0)[..., None].repeat(3, axis=2)
        Image.fromarray(picture.astype(np.uint8)).save(split / "JPEGImages/clip" / f"{t:05d}.jpg")
    expressions = {
        str(n): {"exp": "the moving square", "obj_id": [n], "anno_id": [n]} for n in range(2)
    }
    moments = {"0": {"objects": {"0": [[0, 3]]}}, "1": {"objects": {"1": [[5, 6]]}}}
    for name, content in {
        "meta_expressions": {
            "videos": {
                "clip": {"frames": [f"{t:05d}" for t in range(8)], "expressions": expressions}
            }
        },
        "mask_dict": {str(n): [encode_mask(mask) for mask in tracks[n]] for n in range(2)},
        "moments": {"version": 1, "videos": {"clip": {"expressions": moments}}},
    }.items():
        (split / f"{name}.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("moments", ["auto", "oracle+top-k:2"])
def test_a_true_network_end_to_end(short, checkpoint, tmp_path, moments):
    status = main(
        [
            "--checkpoint",
            str(checkpoint),
            "--dataset",
            "mevis",
            "--root",
            str(short),
            "--moments",
            moments,
            "--always-target",
            "--output",
            str(tmp_path),
        ]
    )
    assert status == 0
    content = json.loads((tmp_path / "metrics.json").read_text())
    (video,) = read_mevis(short, "valid_u").videos
    assert content["overall"]["num_expressions"] == 2
    assert 0 <= content["overall"]["J&F"] <= 100
    assert content["chance"] == 100 * (4 / 8 + 2 / 8) / 2
    assert content["parameters"]["total"] > content["parameters"]["tam"] > 0
    assert content["config"]["model"]["name"] == "tiny"
    for row, expression in zip(content["expressions"], video.expressions, strict=True):
        assert row["text"] == expression.text and row["num_frames"] == video.num_frames
        # The written masks are those that were scored.
        folder = tmp_path / "masks" / video.name / expression.id
        masks = [np.asarray(Image.open(folder / f"{f.stem}.png")) > 0 for f in video.frames]
        truth = np.stack([expression.mask(t) for t in range(video.num_frames)])
        assert row["J"] == pytest.approx(100 * region_similarity(np.stack(masks), truth).mean())
        taken = inside(np.arange(video.num_frames), row["moments"])
        assert taken.any()
        if moments == "oracle+top-k:2":
            assert taken.sum() == 2
            assert expression.relevant(video.num_frames)[taken].all()


def test_relevance_at_a_stride(short, checkpoint, tmp_path, capsys):
    given = ["--checkpoint", str(checkpoint), "--dataset", "mevis", "--root", str(short)]
    status = main([*given, "--tam-stride", "4", "--no-masks", "--output", str(tmp_path / "a")])
    assert status == 0
    content = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert content["config"]["arguments"]["tam_stride"] == 4
    for row in content["expressions"]:  # a line from one scored frame to the next
        first = np.asarray(row["relevance"][:5])
        assert first == pytest.approx(np.linspace(first[0], first[4], 5), abs=2e-4)
    capsys.readouterr()
    told = [*given, "--moments", "oracle", "--tam-stride", "0", "--no-masks"]
    assert main([*told, "--dtype", "bfloat16", "--output", str(tmp_path / "c")]) == 0
    content = json.loads((tmp_path / "c" / "metrics.json").read_text())
    assert content["overall"]["top1"] is None and content["overall"]["mAP"] is None  # not the TAM's
    assert content["overall"]["J&F"] is not None
    assert content["config"]["arguments"]["dtype"] == "bfloat16"
    capsys.readouterr()
    assert main([*given, "--tam-stride", "0", "--output", str(tmp_path / "b")]) == 2
    assert "tam_stride 0: moments 'auto' need scores" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_tables_evaluate_once_and_refuse_another_evaluation(short, checkpoint, tmp_path, capsys):
    def run_tables(*more, network=checkpoint):
        return tables(
            [
                "run",
                "--checkpoint",
                str(network),
                "--dataset",
                "mevis",
                "--root",
                str(short),
                "--splits",
                "valid_u",
                "--moments",
                "auto",
                "--output",
                str(tmp_path / "out"),
                *more,
            ]
        )

    assert run_tables() == 0
    result = tmp_path / "out" / "valid_u" / "auto" / "metrics.json"
    written = result.stat().st_mtime_ns
    assert run_tables() == 0 and result.stat().st_mtime_ns == written
    capsys.readouterr()
    torch.manual_seed(1)
    TGL(TGLConfig.from_preset("tiny"), pretrained=False).save_pretrained(tmp_path / "other")
    assert run_tables(network=tmp_path / "other") == 2
    assert "another checkpoint" in capsys.readouterr().err
    assert run_tables("--always-target") == 2
    assert "another always_target" in capsys.readouterr().err
    assert run_tables("--max-videos", "1") == 2
    assert result.stat().st_mtime_ns == written


def test_a_folder_without_network_is_named(root, tmp_path, capsys):
    assert (
        main(
            [
                "--checkpoint",
                str(tmp_path),
                "--dataset",
                "motion",
                "--root",
                str(root),
                "--output",
                str(tmp_path / "out"),
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert error.startswith("evaluate: error: checkpoint") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
