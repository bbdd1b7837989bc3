"""Masks in the layouts that servers take, and a check that finds what is wrong with a zip."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from tgl_e2e.data.base import ExpressionRecord, VideoDataset, VideoRecord
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.submission import (
    check_submission,
    mask_file,
    read_mask,
    save_masks,
    write_submission,
)
from tgl_e2e.results import Segmentation, encode_mask

HEIGHT, WIDTH, FRAMES = 20, 30, 2


@pytest.fixture
def video(tmp_path):
    """Two frames, eight expressions."""
    frames = [tmp_path / "frames" / f"{5 * t:05d}.jpg" for t in range(FRAMES)]
    frames[0].parent.mkdir()
    for path in frames:
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    records = tuple(ExpressionRecord(str(n), "text", None, None, None, n % 4) for n in range(8))
    return VideoRecord("clip", frames, records)


@pytest.fixture
def results():
    """Expression n has a mask of n + 1 pixels at a row of its own in every frame."""
    found = []
    for n in range(8):
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[2 * n, : n + 1] = True
        found.append(
            Segmentation(
                "text",
                FRAMES,
                (HEIGHT, WIDTH),
                6.0,
                np.arange(FRAMES),
                np.ones(FRAMES, np.float32),
                [],
                [encode_mask(mask)] * FRAMES,
            )
        )
    return found


@pytest.mark.parametrize(
    ("dataset", "name", "count"),
    [
        ("mevis", "clip/3/00005.png", 16),
        ("ref-youtube-vos", "Annotations/clip/3/00005.png", 16),
        ("ref-davis", "anno_3/clip/00005.png", 8),
    ],
)
def test_layouts(tmp_path, video, results, dataset, name, count):
    save_masks(tmp_path / "masks", dataset, video, results)
    archive = tmp_path / "deep" / "out.zip"
    write_submission(archive, tmp_path / "masks", dataset, [video])
    assert check_submission(archive, dataset, [video]) == count
    assert check_submission(archive, VideoDataset(dataset, tmp_path, "valid", (video,))) == count
    with zipfile.ZipFile(archive) as file:
        assert len(file.namelist()) == count and name in file.namelist()
        picture = Image.open(io.BytesIO(file.read(name)))
    values = np.asarray(picture)
    assert str(mask_file(dataset, video, 3, 1)) == name
    if dataset == "ref-davis":
        assert picture.mode == "P" and picture.getpalette()[:12] == [
            0,
            0,
            0,
            128,
            0,
            0,
            0,
            128,
            0,
            128,
            128,
            0,
        ]
        # Annotation 3 describes object 1 in expression 3 and object 2 in expression 7.
        assert (values == 1).sum() == 4 and (values == 2).sum() == 8
    else:
        assert picture.mode == "L" and set(np.unique(values)) == {0, 255}
        assert (values == 255).sum() == 4
    for n, result in enumerate(results):
        assert (read_mask(tmp_path / "masks", dataset, video, n, 1) == result.mask(1)).all()
    with pytest.raises(InputError, match="--no-masks"):
        read_mask(tmp_path / "nowhere", dataset, video, 0, 0)


def png(values, mode="L"):
    file = io.BytesIO()
    Image.fromarray(values).convert(mode).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("clip/0/00000.png"), "1 masks are missing, first clip/0/0000"),
        (lambda files: files.update({"clip/notes.txt": b""}), "1 files do not belong there"),
        (
            lambda files: files.update(
                {"clip/0/00000.png": png(np.zeros((20, 30), np.uint8), "RGB")}
            ),
            "PNG of mode RGB, it must be PNG of mode L",
        ),
        (
            lambda files: files.update({"clip/0/00000.png": png(np.zeros((30, 20), np.uint8))}),
            "30 x 20 pixels, its frame has 20 x 30",
        ),
        (
            lambda files: files.update({"clip/0/00000.png": png(np.ones((20, 30), np.uint8))}),
            "holds the value 1",
        ),
        (lambda files: files.update({"clip/0/00000.png": b"no picture"}), "not a readable picture"),
    ],
)
def test_the_check_names_what_is_wrong(tmp_path, video, results, change, message):
    save_masks(tmp_path / "masks", "mevis", video, results)
    write_submission(tmp_path / "good.zip", tmp_path / "masks", "mevis", [video])
    with zipfile.ZipFile(tmp_path / "good.zip") as file:
        files = {name: file.read(name) for name in file.namelist()}
    change(files)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    with pytest.raises(InputError, match=re.escape(message)):
        check_submission(tmp_path / "bad.zip", "mevis", [video])


def test_no_zip_is_better_than_a_bad_one(tmp_path, video, results):
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match="not a readable zip"):
        check_submission(tmp_path / "text.zip", "mevis", [video])
    save_masks(tmp_path / "masks", "mevis", video, results)
    (tmp_path / "masks" / "clip" / "0" / "00000.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not a readable picture"):
        write_submission(tmp_path / "out.zip", tmp_path / "masks", "mevis", [video])
    (tmp_path / "masks" / "clip" / "0" / "00000.png").unlink()
    with pytest.raises(InputError, match=r"clip/0/00000\.png: No such file"):
        write_submission(tmp_path / "out.zip", tmp_path / "masks", "mevis", [video])
    with pytest.raises(InputError, match="no server"):
        write_submission(tmp_path / "out.zip", tmp_path / "masks", "refcoco", [video])
    assert not list(tmp_path.glob("*out.zip*"))
