import os
import stat

import numpy as np
import pytest
from small_videos import numbered, write_video
from test_results import some_segmentation

from tgl_e2e.errors import InputError
from tgl_e2e.inference.output_folder import OURS, OutputFolder, write_outputs
from tgl_e2e.results import Segmentation, encode_mask
from tgl_e2e.video.reader import open_video


def tree(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*"))


def fill(folder, content="new"):
    (folder / "masks" / "0").mkdir(parents=True)
    for name in ("overlay.mp4", "result.json", "timeline.png", "masks/0/00000.png"):
        (folder / name).write_text(content)


FILLED = ["masks", "masks/0", "masks/0/00000.png", "overlay.mp4", "result.json", "timeline.png"]


def test_new_folder_appears_at_the_end(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    with OutputFolder(path) as folder:
        fill(folder)
        assert not path.exists()
    assert tree(path) == FILLED
    assert tree(tmp_path / "a") == ["b", "b/c"] + [f"b/c/{name}" for name in FILLED]
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_error_leaves_nothing(tmp_path, error):
    with pytest.raises(error), OutputFolder(tmp_path / "a" / "b") as folder:
        fill(folder)
        raise error
    assert tree(tmp_path) == []


def test_an_earlier_run_is_replaced_and_nothing_else(tmp_path):
    fill(tmp_path, "old")
    (tmp_path / "masks" / "1").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError), OutputFolder(tmp_path) as folder:
        fill(folder)
        raise ValueError
    assert (tmp_path / "result.json").read_text() == "old" and (tmp_path / "masks/1").exists()
    with OutputFolder(tmp_path) as folder:
        fill(folder)
    assert tree(tmp_path) == sorted([*FILLED, "notes.txt"])
    assert all((tmp_path / n).read_text() == "new" for n in FILLED if (tmp_path / n).is_file())


def test_an_empty_folder_is_taken(tmp_path):
    with OutputFolder(tmp_path) as folder:
        fill(folder)
    assert tree(tmp_path) == FILLED


def test_somebody_elses_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"no result\.json"), OutputFolder(tmp_path):
        pass
    assert tree(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("source", ["overlay.mp4", "masks/0", "masks"])
def test_an_input_is_never_replaced(tmp_path, source):
    fill(tmp_path)
    with pytest.raises(InputError, match="lies in"), OutputFolder(tmp_path, [tmp_path / source]):
        pass
    (tmp_path / "clip.mp4").write_text("mine")
    with OutputFolder(tmp_path, [tmp_path / "clip.mp4", tmp_path]):
        pass
    assert (tmp_path / "clip.mp4").exists()


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / "file" / "a" / "b"):
        with pytest.raises(InputError, match="--output"), OutputFolder(path):
            pass
    assert tree(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_no_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    for path in (tmp_path / "closed", tmp_path / "closed" / "a" / "b"):
        with pytest.raises(InputError, match="--output"), OutputFolder(path):
            pass


def test_video_that_changed_meanwhile(tmp_path):
    segmentation = some_segmentation("a", 5)  # frames 2, 5, ..., 14 of 13 x 17 pixels
    frames = [numbered(i, (13, 17)) for i in range(15)]
    calls = []
    out = tmp_path / "good"
    out.mkdir()
    write_outputs(
        out, open_video(frames), [segmentation], 0.5, "v", "c", lambda *a: calls.append(a)
    )
    assert calls == [(n, 5, "writing") for n in range(1, 6)]
    assert sorted(f.name for f in out.iterdir()) == sorted(OURS)
    assert tree(out / "masks" / "0") == [f"{n:05d}.png" for n in (2, 5, 8, 11, 14)]
    (tmp_path / "bad").mkdir()
    with pytest.raises(InputError, match="changed"):
        write_outputs(tmp_path / "bad", open_video(frames[:12]), [segmentation], 0.5, "v", "c")


def test_overlay_keeps_the_times_of_the_video(tmp_path):
    times = [0, 0.1, 0.15, 0.7, 1.5]
    source = open_video(write_video(tmp_path / "clip.mp4", 5, (14, 18), times=times))
    rle = encode_mask(np.zeros((14, 18), bool))
    found = Segmentation(
        "a", 5, (14, 18), 24.0, np.arange(5), np.ones(5, np.float32), [(0, 4)], [rle] * 5
    )
    out = tmp_path / "out"
    out.mkdir()
    write_outputs(out, source, [found], 0.5, "v", "c")
    overlay = open_video(out / "overlay.mp4")
    assert [f.time for f in overlay.timed_frames()] == pytest.approx(times, abs=1e-3)
