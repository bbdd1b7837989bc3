"""The benchmark runs both and reports what it says it does."""

import json

import numpy as np
import pytest
import torch
from networks import build

from tgl_e2e import VideoSegmenter
from tgl_e2e.benchmark.__main__ import main, parse_arguments
from tgl_e2e.benchmark.measure import count_flops
from tgl_e2e.benchmark.samwise import Samwise
from tgl_e2e.fit import Fit
from tgl_e2e.model.vision import Vision

STAGES = {
    "decode",
    "trunk",
    "text",
    "adapters",
    "TAM",
    "memory attention",
    "mask decoder",
    "memory encoder",
    "write-out",
    "rest",
}


def run(tmp_path, capsys, *arguments) -> tuple[dict, str]:
    output = tmp_path / "benchmark.json"
    assert (
        main(
            [
                "--backbone",
                "tiny",
                "--frames",
                "9",
                "--rounds",
                "2",
                "--output",
                str(output),
                *arguments,
            ]
        )
        == 0
    )
    return json.loads(output.read_text()), capsys.readouterr().out


def test_report(tmp_path, capsys):
    report, table = run(
        tmp_path, capsys, "--lengths", "24", "12", "--numbers-of-texts", "1", "3", "--sizes", "256"
    )
    ratio = report["ratio"]
    assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert set(report["stages"]["ours"]) == STAGES
    assert report["stages"]["official"].keys() <= STAGES
    for who in ("ours", "official"):
        stages = report["stages"][who]
        for stage in ("decode", "trunk", "memory attention", "mask decoder", "memory encoder"):
            assert stages[stage] > 0, (who, stage)
        assert report[who]["median"] > 0
        assert report["peak_memory"][who]["host_bytes"] > 10**8
    assert report["stages"]["ours"]["TAM"] > 0
    assert report["floor"]["flops_per_frame"] > 10**8
    assert 0 < report["floor"]["seconds_per_frame"] < report["ours"]["median"]
    assert list(report["lengths"]) == ["12", "24"]
    assert list(report["numbers_of_texts"]) == ["1", "3"]
    assert report["sizes"]["256"]["ratio"]["median"] > 0
    assert report["settings"]["backbone"] == "tiny"
    assert "; ratio " in table and "memory attention" in table


def test_settings_take_effect(tmp_path, capsys, monkeypatch):
    remembered = []
    write = Vision.write_memory

    def counted(self, features, *arguments, **options):
        remembered.append(len(features))
        return write(self, features, *arguments, **options)

    monkeypatch.setattr(Vision, "write_memory", counted)
    given, _ = run(
        tmp_path,
        capsys,
        "--moments",
        "given",
        "--tam-stride",
        "0",
        "--share",
        "25",
        "--pool",
        "2",
        "--dtype",
        "bfloat16",
        "--official-dtype",
        "float32",
    )
    assert given["stages"]["ours"]["TAM"] == 0
    few = sum(remembered)
    run(tmp_path, capsys, "--share", "100")
    assert 0 < few < 0.6 * (sum(remembered) - few)  # 2 frames of 9 against all


@pytest.mark.parametrize("rival", ["samwise", "samwise-fast"])
def test_samwises_procedure_finds_the_same_masks(tmp_path, capsys, monkeypatch, rival):
    found, to_size = {}, Fit.to_size

    def watched(self, logits, size):
        masks = to_size(self, logits, size)
        rows = found.setdefault(side[-1], [])
        rows += [mask.mean() for mask in masks]
        return masks

    side = ["ours"]
    run_rival = Samwise.run
    monkeypatch.setattr(Fit, "to_size", watched)
    monkeypatch.setattr(
        Samwise, "run", lambda *args: (side.append("theirs"), run_rival(*args), side.pop())
    )
    report, table = run(tmp_path, capsys, "--against", rival, "--texts", "2", "--rounds", "1")
    assert report["ratio"]["median"] > 0 and f"against {rival}" in table
    assert report["stages"]["ours"]["TAM"] == 0 and report["stages"]["official"].keys() <= STAGES
    # Warm-up (2 frames), the round and the stages' run, all frames of both expressions.
    assert len(found["theirs"]) == 2 * (2 + 9 + 9)
    assert np.allclose(found["theirs"][4:22], found["ours"][4:22], atol=1e-3)
    assert np.std(found["ours"]) > 0


def test_defaults_are_those_of_the_comparison():
    args = parse_arguments([])
    assert (args.backbone, args.moments, args.dtype, args.device) == (
        "hiera-t",
        "auto",
        "float32",
        "cpu",
    )
    assert (args.pool, args.tam_stride, args.share, args.image_size) == (1, 1, 50, None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--share", "0"],
        ["--frames", "0"],
        ["--pool", "3"],
        ["--lengths", "0"],
        ["--backbone", "vit"],
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        parse_arguments(arguments)
    assert error.value.code == 2


def test_bad_input_is_one_line(capsys):
    assert main(["--backbone", "tiny", "--video", "nowhere.mp4"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nowhere.mp4" in error
    assert main(["--backbone", "tiny", "--moments", "auto", "--tam-stride", "0"]) == 2
    assert "need scores" in capsys.readouterr().err


def test_arithmetic_is_counted_whatever_runs_beside():
    """Small networks share threads, and what another thread does a counter does not see."""
    frames = np.random.default_rng(0).integers(0, 256, (20, 48, 48, 3), dtype=np.uint8)
    segmenter = VideoSegmenter(build("tiny").requires_grad_(False))
    segmenter.segment(frames[:2], ["the red circle"], "all")  # what is looked up once
    before, counts = torch.get_num_threads(), set()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            counts.add(count_flops(lambda: segmenter.segment(frames, ["the red circle"], "all")))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert len(counts) == 1 and counts.pop() > 10**9
