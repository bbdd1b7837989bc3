import sys

import pytest

from tgl_e2e.data.synthetic import make_scene, sample
from tgl_e2e.video.reader import open_video


def test_sample_video(tmp_path, monkeypatch, capsys):
    path = tmp_path / "sample.mp4"
    monkeypatch.setattr(
        sys, "argv", ["sample", "--seed", "5", "--output", str(path), "--size", "128"]
    )
    sample.main()
    scene = make_scene(5, level="easy", split="valid_u")
    assert len(list(open_video(path).frames())) == scene.num_frames
    assert scene.expressions[0].text in capsys.readouterr().out


def test_bad_output_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys,
        "argv",
        ["sample", "--seed", "5", "--output", str(tmp_path / "no" / "folder" / "x.mp4")],
    )
    with pytest.raises(SystemExit) as stop:
        sample.main()
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
