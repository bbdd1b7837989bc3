"""The command line: what it writes, and what it says to bad input."""

import importlib.util
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_videos import SIZE, truncate, write_video

import tgl_e2e
from tgl_e2e.moments import inside
from tgl_e2e.results import Segmentation, encode_mask, read_result_json

INFER = Path(__file__).resolve().parent.parent / "infer.py"
_spec = importlib.util.spec_from_file_location("infer", INFER)
infer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(infer)


def tree(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))


def run(capsys, *arguments):
    """(status, lines on stdout, lines on stderr without progress bars)."""
    try:
        status = infer.main([str(a) for a in arguments])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    lines = [line.split("\r")[-1] for line in err.splitlines()]
    return status, out.splitlines(), [line for line in lines if line.startswith("infer.py:")]


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", 12)


# --- without a network ---------------------------------------------------------------------------


def test_help_is_fast_and_readable():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(INFER), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "numpy", "av", "matplotlib", "tqdm"}
    for word in ("examples:", "overlay.mp4", "--moments", "top-k:4", "--always-target"):
        assert word in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


class StandIn:
    """Segments without a network: the left half of every frame, relevant from frame 2 to 5."""

    def __init__(self, model, threshold, always_target, tam_stride, progress):
        self.progress = progress

    def segment(self, video, texts, moments, start, end, stride):
        frames = []
        for number, _ in video.frames(start, end, stride):
            frames.append(number)
            self.progress(len(frames), video.num_frames_hint, "segmenting")
        warnings.warn("two\nlines", stacklevel=1)
        frames = np.array(frames)
        moments = [(2, 5)]
        relevance = np.where(inside(frames, moments), 0.9, 0.2).astype(np.float32)
        mask = np.zeros(video.size, bool)
        mask[:, : video.size[1] // 2] = True
        return [
            Segmentation(
                text,
                len(frames),
                video.size,
                video.fps,
                frames,
                relevance,
                moments,
                [encode_mask(mask if n == 0 else ~mask)] * len(frames),
            )
            for n, text in enumerate(texts)
        ]


@pytest.fixture
def stand_in(monkeypatch):
    class Model:
        @staticmethod
        def from_pretrained(folder, device, dtype):
            assert isinstance(device, torch.device) and isinstance(dtype, torch.dtype)
            return SimpleNamespace(tam=object())

    monkeypatch.setitem(vars(tgl_e2e), "TGL", Model)
    monkeypatch.setitem(vars(tgl_e2e), "VideoSegmenter", StandIn)


def check_outputs(folder, numbers, size, texts):
    """All four outputs are there and say the same."""
    result = read_result_json(folder / "result.json")
    with av.open(str(folder / "overlay.mp4")) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == tuple(n + n % 2 for n in size)
        assert sum(1 for _ in container.decode(stream)) == len(numbers)
    with Image.open(folder / "timeline.png") as image:
        assert image.width > 1000
    assert [s.text for s in result.segmentations] == texts
    assert sorted(f.name for f in (folder / "masks").iterdir()) == [
        str(n) for n in range(len(texts))
    ]
    for n, segmentation in enumerate(result.segmentations):
        assert segmentation.frames.tolist() == numbers and segmentation.size == size
        assert segmentation.num_frames == len(numbers) == len(segmentation.rle)
        assert segmentation.relevance.min() >= 0 and segmentation.relevance.max() <= 1
        names = [f"{number:05d}.png" for number in numbers]
        assert sorted(f.name for f in (folder / "masks" / str(n)).iterdir()) == names
        for i, name in enumerate(names):
            with Image.open(folder / "masks" / str(n) / name) as image:
                assert image.mode == "L"
                mask = np.asarray(image)
            assert mask.shape == size and set(np.unique(mask)) <= {0, 255}
            assert ((mask == 255) == segmentation.mask(i)).all()
    return result


def test_outputs(tmp_path, capsys, clip, stand_in):
    out = tmp_path / "out"
    status, printed, said = run(capsys, clip, "left", "--output", out, "right")
    assert status == 0
    result = check_outputs(out, list(range(12)), SIZE, ["left", "right"])
    assert result.video == str(clip)
    assert said == ["infer.py: warning: two lines"]
    text = "\n".join(printed)
    for part in ('0: "left"', "relevant in 4 of 12 frames: 2-5", f"{out}/", "masks/0/ to masks/1/"):
        assert part in text
    content = json.loads((out / "result.json").read_text())
    assert content["expressions"][0]["moments"] == [[2, 5]]


def test_range_and_default_output(tmp_path, capsys, clip, stand_in, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # an earlier result is replaced
        part = ["--start", 1, "--end", 10, "--stride", 4]
        assert run(capsys, "clip.mp4", "left", *part)[0] == 0
        check_outputs(tmp_path / "outputs" / "clip", [1, 5, 9], SIZE, ["left"])
    assert tree(tmp_path / "outputs").count("clip/masks/0/00001.png") == 1
    assert not [name for name in tree(tmp_path) if "partial" in name]


def test_odd_sizes_rotation_and_folders(tmp_path, capsys, stand_in):
    turned = write_video(tmp_path / "turned.mp4", 3, (46, 62), matrix=(0, 1, -1, 0))
    assert run(capsys, turned, "left", "--output", tmp_path / "a")[0] == 0
    check_outputs(tmp_path / "a", [0, 1, 2], (62, 46), ["left"])
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        Image.fromarray(np.full((33, 47, 3), 80 * i, np.uint8)).save(frames / f"{i}.png")
    assert run(capsys, frames, "left", "--output", tmp_path / "b")[0] == 0
    check_outputs(tmp_path / "b", [0, 1, 2], (33, 47), ["left"])


def test_truncated_video_is_processed_with_a_warning(tmp_path, capsys, stand_in):
    path = truncate(write_video(tmp_path / "clip.mp4", 60, (96, 128)), 0.6)
    status, _, said = run(capsys, path, "left", "--output", tmp_path / "out")
    assert status == 0
    num_frames = read_result_json(tmp_path / "out" / "result.json").segmentations[0].num_frames
    assert 10 < num_frames < 60
    check_outputs(tmp_path / "out", list(range(num_frames)), (96, 128), ["left"])
    assert len([line for line in said if "warning" in line and str(path) in line]) == 1
    assert any(f"{num_frames} of about 60 frames" in line for line in said)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "infer.py: interrupted: nothing was written"),
        (OSError(28, "No space left on device", "disk"), 2, "infer.py: error: disk: No space"),
        (RuntimeError("CUDA out of memory"), 2, "infer.py: error: out of memory"),
    ],
)
def test_nothing_half_written(tmp_path, capsys, clip, stand_in, monkeypatch, error, status, line):
    def fail(*args, **kwargs):
        raise error

    before = tree(tmp_path)
    for broken in ("segment", "__init__"):
        with monkeypatch.context() as patch:
            patch.setattr(StandIn, broken, fail)
            found, printed, said = run(capsys, clip, "left", "--output", tmp_path / "a" / "b")
        assert (found, printed, len(said)) == (status, [], 1)
        assert said[0].startswith(line)
        assert tree(tmp_path) == before


def bad(tmp_path, what):
    """Arguments, and a word that the error must hold."""
    clip = write_video(tmp_path / "clip.mp4", 12)
    match what:
        case "missing file":
            return [tmp_path / "nothing.mp4", "a"], "nothing.mp4"
        case "text file":
            (tmp_path / "text.mp4").write_text("no video " * 100)
            return [tmp_path / "text.mp4", "a"], "text.mp4"
        case "truncated before the index":
            content = clip.read_bytes()
            clip.write_bytes(content[: content.index(b"moov")])
            return [clip, "a"], "clip.mp4"
        case "no video stream":
            return [write_video(tmp_path / "sound.mp4", 9, streams="ac"), "a"], "no video stream"
        case "no text":
            return [clip], "TEXT"
        case "unknown option":
            return [clip, "a", "--colour", "red"], "--colour"
        case "no number":
            return [clip, "a", "--stride", "two"], "--stride"
        case "start behind the end":
            return [clip, "a", "--start", "5", "--end", "5"], "end 5"
        case "threshold":
            return [clip, "a", "--threshold", "50"], "--threshold"
        case "device":
            return [clip, "a", "--device", "quantum"], "--device"
        case "another machine's device":
            return [clip, "a", "--device", "cuda:99"], "--device"
        case "moments: no such mode":
            return [clip, "a", "--moments", "most"], "most"
        case "moments: do not parse":
            (tmp_path / "moments.json").write_text("[[0, 1")
            return [clip, "a", "--moments", tmp_path / "moments.json"], "moments.json"
        case "moments: no intervals":
            (tmp_path / "moments.json").write_text("[[4, 2]]")
            return [clip, "a", "--moments", tmp_path / "moments.json"], "moments.json"
        case "output in a file":
            return [clip, "a", "--output", clip / "out"], "--output"
        case "output is a file":
            return [clip, "a", "--output", clip], "--output"
        case "output is somebody else's":
            return [clip, "a", "--output", tmp_path], "--output"
        case "no such checkpoint":
            return [clip, "a", "--checkpoint", tmp_path / "nothing"], "nothing"
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    [
        "missing file",
        "text file",
        "truncated before the index",
        "no video stream",
        "no text",
        "unknown option",
        "no number",
        "start behind the end",
        "threshold",
        "device",
        "another machine's device",
        "moments: no such mode",
        "moments: do not parse",
        "moments: no intervals",
        "output in a file",
        "output is a file",
        "output is somebody else's",
        "no such checkpoint",
    ],
)
def test_bad_input(tmp_path, capsys, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    arguments, word = bad(tmp_path, what)
    before = tree(tmp_path)
    status, printed, said = run(capsys, *arguments)
    assert status == 2 and printed == []
    assert len(said) == 1 and said[0].startswith("infer.py: error: ") and word in said[0]
    assert tree(tmp_path) == before


def test_bad_input_from_a_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, str(INFER), "nothing.mp4", "a"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("infer.py: error: nothing.mp4")
    assert tree(tmp_path) == []


# --- with a network of random weights ------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)
    config = tgl_e2e.TGLConfig.from_preset("tiny")
    tgl_e2e.TGL(config, pretrained=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("moments", "relevant"),
    [("auto", None), ("all", 12), ("top-k:4", 4), ("{file}", 5), ("{file}+top-k:2", 2)],
)
def test_moments(tmp_path, capsys, clip, network, moments, relevant):
    file = tmp_path / "moments.json"
    file.write_text("[[1, 2], [6, 8]]")
    out = tmp_path / "out"
    chosen = ["--moments", moments.format(file=file), "--checkpoint", network, "--output", out]
    texts = ["the red corner", "something blue that moves"]
    status, _, said = run(capsys, clip, *texts, *chosen)
    assert (status, said) == (0, [])
    result = check_outputs(out, list(range(12)), SIZE, texts)
    for segmentation in result.segmentations:
        found = inside(segmentation.frames, segmentation.moments)
        if moments == "auto":
            assert (found == (segmentation.relevance >= 0.5)).all()
        else:
            assert found.sum() == relevant
        if "file" in moments:
            assert set(segmentation.frames[found]) <= {1, 2, 6, 7, 8}


def test_relevance_at_a_stride(tmp_path, capsys, clip, network):
    given = [clip, "a dog", "--checkpoint", network, "--output", tmp_path / "out"]
    relevance = []
    for stride in (1, 4):
        assert run(capsys, *given, "--tam-stride", stride)[0] == 0
        (found,) = check_outputs(tmp_path / "out", list(range(12)), SIZE, ["a dog"]).segmentations
        relevance.append(found.relevance)
    assert np.abs(np.diff(relevance[1], n=2)[:2]).max() < 1e-5 < np.abs(relevance[0]).max()
    assert (relevance[0] != relevance[1]).any()


def test_nothing_found_and_always_target(tmp_path, capsys, clip, network):
    out = tmp_path / "out"
    given = [clip, "a dog", "--threshold", 1, "--checkpoint", network, "--output", out]
    status, printed, _ = run(capsys, *given)
    assert status == 0 and any("not found" in line for line in printed)
    (found,) = check_outputs(out, list(range(12)), SIZE, ["a dog"]).segmentations
    assert found.moments == [] and not any(found.mask(i).any() for i in range(12))
    assert run(capsys, *given, "--always-target")[0] == 0
    (found,) = check_outputs(out, list(range(12)), SIZE, ["a dog"]).segmentations
    assert inside(found.frames, found.moments).sum() == 4


def test_earlier_result_as_moments(tmp_path, capsys, clip, network):
    given = [clip, "a dog", "--checkpoint", network, "--output", tmp_path / "out", "--moments"]
    for _ in range(2):  # the second time the file that is read lies where the output goes
        assert run(capsys, *given, "top-k:3")[0] == 0
        first = read_result_json(tmp_path / "out" / "result.json").segmentations[0]
        assert run(capsys, *given, tmp_path / "out" / "result.json")[0] == 0
        again = read_result_json(tmp_path / "out" / "result.json").segmentations[0]
        assert again.moments == first.moments and again.rle == first.rle


def bad_with_network(tmp_path, clip, network, what):
    """Arguments, and a word that the error must hold."""
    copy = tmp_path / "network"
    shutil.copytree(network, copy)
    given = [clip, "a dog", "--checkpoint", copy]
    weights = copy / "model.safetensors"
    match what:
        case "empty text":
            return [clip, "a dog", "  ", "--checkpoint", copy], "text"
        case "long text":
            return [clip, "dog " * 2000, "--checkpoint", copy], "text"
        case "checkpoint without config":
            (copy / "config.json").unlink()
            return given, "config.json"
        case "checkpoint without weights":
            weights.unlink()
            return given, "model.safetensors"
        case "weights damaged":
            truncate(weights, 0.5)
            return given, "model.safetensors"
        case "config damaged":
            truncate(copy / "config.json", 0.5)
            return given, "config.json"
        case "tensor missing":
            state = load_file(weights)
            name = sorted(state)[3]
            del state[name]
            save_file(state, weights, metadata=_metadata(weights))
            return given, name
        case "tensor of the wrong shape":
            state = load_file(weights)
            name = next(n for n in sorted(state) if state[n].ndim == 2)
            state[name] = state[name][1:].contiguous()
            save_file(state, weights, metadata=_metadata(weights))
            return given, name
        case "moments outside the video":
            (tmp_path / "moments.json").write_text("[[3, 40]]")
            return [*given, "--moments", tmp_path / "moments.json"], "moments.json"
        case "moments of another text":
            (tmp_path / "moments.json").write_text('{"a cat": [[3, 4]]}')
            return [*given, "--moments", tmp_path / "moments.json"], "a dog"
        case "start behind the end":
            return [*given, "--start", 12], "start 12"
        case "no scores to choose by":
            return [*given, "--tam-stride", 0], "tam_stride 0"
    raise AssertionError(what)


def _metadata(weights):
    with safe_open(weights, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize(
    "what",
    [
        "empty text",
        "long text",
        "checkpoint without config",
        "checkpoint without weights",
        "weights damaged",
        "config damaged",
        "tensor missing",
        "tensor of the wrong shape",
        "moments outside the video",
        "moments of another text",
        "start behind the end",
        "no scores to choose by",
    ],
)
def test_bad_input_with_network(tmp_path, capsys, monkeypatch, clip, network, what):
    monkeypatch.chdir(tmp_path)
    arguments, word = bad_with_network(tmp_path, clip, network, what)
    before = tree(tmp_path)
    status, printed, said = run(capsys, *arguments)
    assert status == 2 and printed == []
    assert len(said) == 1 and said[0].startswith("infer.py: error: ") and word in said[0]
    assert tree(tmp_path) == before
