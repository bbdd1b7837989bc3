import os
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from small_videos import SIZE, number_of, numbered, truncate, write_video

from tgl_e2e.errors import InputError
from tgl_e2e.video.reader import open_video
from tgl_e2e.video.source import DEFAULT_FPS, VideoWarning


def numbers(source, *args, **kwargs):
    """What the frames are called; each must also be the frame that it is called."""
    result = []
    for number, rgb in source.frames(*args, **kwargs):
        assert rgb.dtype == np.uint8 and rgb.shape == (*source.size, 3)
        assert rgb.flags.c_contiguous
        assert number_of(rgb) == number
        result.append(number)
    return result


def write_frames(folder, names, size=SIZE):
    folder.mkdir()
    for i, name in enumerate(names):
        Image.fromarray(numbered(i, size)).save(folder / name)
    return folder


class TestFile:
    def test_frames_are_numbered_and_can_be_read_again(self, tmp_path):
        source = open_video(write_video(tmp_path / "clip.mp4", 20))
        assert (source.name, source.size, source.fps) == ("clip", SIZE, 24.0)
        assert source.num_frames is None and source.num_frames_hint == 20
        assert numbers(source) == list(range(20))
        assert source.num_frames == 20
        assert numbers(source) == list(range(20))

    @pytest.mark.parametrize(
        ("start", "end", "stride"),
        [(3, None, 1), (0, 7, 1), (3, 15, 4), (19, None, 5), (0, 100, 3), (5, 6, 1)],
    )
    def test_range(self, tmp_path, start, end, stride):
        source = open_video(write_video(tmp_path / "clip.mp4", 20))
        expected = list(range(20))[start:end:stride]
        assert numbers(source, start, end, stride) == expected
        numbers(source)  # now the length is known
        assert numbers(source, start, end, stride) == expected

    def test_closing_early_and_two_readers_at_once(self, tmp_path):
        source = open_video(write_video(tmp_path / "clip.mp4", 12))
        first, second = source.frames(), source.frames(4)
        assert [next(first)[0], next(second)[0], next(first)[0]] == [0, 4, 1]
        first.close()
        assert next(second)[0] == 5

    @pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.avi", "a:b%d.mp4"])
    def test_other_containers_and_names(self, tmp_path, name):
        codec = {"clip.webm": "libvpx-vp9", "clip.avi": "mpeg4"}.get(name, "libx264")
        source = open_video(write_video(tmp_path / name, 12, codec=codec))
        assert numbers(source) == list(range(12))
        assert source.num_frames_hint == 12

    @pytest.mark.parametrize("size", [(46, 62), (16, 16)])
    def test_sizes(self, tmp_path, size):
        assert numbers(open_video(write_video(tmp_path / "clip.mp4", 3, size))) == [0, 1, 2]

    def test_variable_frame_rate_keeps_its_times(self, tmp_path):
        times = [0, 0.1, 0.15, 0.7, 1.5, 1.6]
        source = open_video(write_video(tmp_path / "clip.mp4", 6, times=times))
        frames = list(source.timed_frames())
        assert [f.number for f in frames] == [0, 1, 2, 3, 4, 5]
        assert [number_of(f.rgb) for f in frames] == [0, 1, 2, 3, 4, 5]
        assert [f.time for f in frames] == pytest.approx(times, abs=1e-3)
        assert source.fps == pytest.approx(6 / 1.6, rel=0.1)

    # What the upper left (red) and lower left (blue) corners of the stored picture become.
    @pytest.mark.parametrize(
        ("matrix", "turned"),
        [
            ((1, 0, 0, 1), lambda f: f),
            ((0, 1, -1, 0), lambda f: np.rot90(f, -1)),  # a phone held upright: clockwise
            ((-1, 0, 0, -1), lambda f: np.rot90(f, 2)),
            ((0, -1, 1, 0), lambda f: np.rot90(f, 1)),
            ((-1, 0, 0, 1), lambda f: f[:, ::-1]),
            ((1, 0, 0, -1), lambda f: f[::-1]),
            ((0, 1, 1, 0), lambda f: f.transpose(1, 0, 2)),
        ],
    )
    def test_rotation(self, tmp_path, matrix, turned):
        source = open_video(write_video(tmp_path / "clip.mp4", 3, matrix=matrix))
        expected = turned(numbered(2))
        rgb = [f for _, f in source.frames()][2]
        assert source.size == expected.shape[:2] == rgb.shape[:2]
        assert np.abs(rgb.astype(int) - expected).mean() < 25  # chroma bleeds at the edges

    def test_sound_and_cover_art_are_not_the_video(self, tmp_path):
        source = open_video(write_video(tmp_path / "clip.mp4", 5, streams="cav"))
        assert source.size == SIZE
        assert numbers(source) == [0, 1, 2, 3, 4]

    def test_memory_does_not_grow_with_the_length(self, tmp_path):
        statm = "/proc/self/statm"
        if not os.path.exists(statm):
            pytest.skip("needs /proc")

        def resident():
            with open(statm) as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        path = write_video(tmp_path / "clip.mp4", 240, (360, 640))
        source = open_video(path)
        for _ in source.frames(end=60):
            pass
        before = resident()
        highest = max(resident() for _ in source.frames())
        assert highest - before < 60e6  # the frames together are 166 MB


class TestDamagedFile:
    @pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
    def test_truncated(self, tmp_path, name):
        path = truncate(write_video(tmp_path / name, 60, (96, 128)), 0.6)
        source = open_video(path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = [number for number, _ in source.frames()]
            again = [number for number, _ in source.frames()]
        assert found == again == list(range(len(found)))
        assert 10 < len(found) < 60
        assert source.num_frames == len(found)
        if name != "clip.ts":  # has no header that would say how long it should be
            assert [w.category for w in caught] == [VideoWarning]  # once, not at each reading
            assert str(path) in str(caught[0].message)
            assert f"{len(found)} of about 60 frames" in str(caught[0].message)

    def test_reading_the_undamaged_part_does_not_warn(self, tmp_path):
        path = truncate(write_video(tmp_path / "clip.mp4", 60, (96, 128)), 0.6)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert numbers(open_video(path), end=8) == list(range(8))

    def test_whole_file_does_not_warn(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for name in ("clip.mp4", "clip.mkv", "clip.ts"):
                numbers(open_video(write_video(tmp_path / name, 12)))
            # Sound that goes on longer than the picture is nothing missing.
            path = write_video(tmp_path / "sound.mkv", 3, fps=24, streams="va")
            numbers(open_video(path))

    def test_damaged_in_the_middle(self, tmp_path):
        path = write_video(tmp_path / "clip.mp4", 60, (96, 128))
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 400] = bytes(range(200)) * 2
        path.write_bytes(content)
        with pytest.warns(VideoWarning, match="frames can be decoded"):
            found = [number for number, _ in open_video(path).frames()]
        assert found == list(range(len(found))) and len(found) > 30

    def test_not_one_frame(self, tmp_path):
        path = truncate(write_video(tmp_path / "clip.mkv", 30, (96, 128)), 1)
        content = path.read_bytes()
        path.write_bytes(content[:700])
        with pytest.raises(InputError, match=r"clip\.mkv"):
            open_video(path)

    def test_index_missing(self, tmp_path):
        path = write_video(tmp_path / "clip.mp4", 12)
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"moov") - 4])
        with pytest.raises(InputError, match="repaired"):
            open_video(path)


class TestBadInput:
    @pytest.mark.parametrize("name", ["text.mp4", "text.txt"])
    def test_text_file(self, tmp_path, name):
        (tmp_path / name).write_text("this is no video\n" * 50)
        with pytest.raises(InputError, match=name):
            open_video(tmp_path / name)

    def test_missing_and_empty(self, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            open_video(tmp_path / "nothing.mp4")
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(InputError, match=r"empty\.mp4"):
            open_video(tmp_path / "empty.mp4")

    @pytest.mark.parametrize("streams", ["a", "ac"])
    def test_no_video_stream(self, tmp_path, streams):
        with pytest.raises(InputError, match="no video stream"):
            open_video(write_video(tmp_path / "sound.mp4", 12, streams=streams))

    @pytest.mark.parametrize(
        "arguments",
        [
            {"start": -1},
            {"stride": 0},
            {"start": 4, "end": 4},
            {"end": -2},
            {"start": 1.5},
            {"start": "1"},
        ],
    )
    def test_invalid_range(self, tmp_path, arguments):
        source = open_video(write_video(tmp_path / "clip.mp4", 12))
        with pytest.raises(InputError, match=r"start|end|stride"):
            source.frames(**arguments)

    def test_start_behind_the_end(self, tmp_path):
        source = open_video(write_video(tmp_path / "clip.mp4", 12))
        with pytest.raises(InputError, match="frame 11"):
            list(source.frames(start=12))
        with pytest.raises(InputError, match="frame 11"):  # known from the first reading on
            source.frames(start=12)


class TestFolder:
    def test_natural_order(self, tmp_path):
        names = ["f1.png", "F2.PNG", "f9.bmp", "f10.png", "f011.webp", "g1.png"]
        source = open_video(write_frames(tmp_path / "walk", names))
        (tmp_path / "walk" / "notes.txt").write_text("no frame")
        (tmp_path / "walk" / "._f1.png").write_text("left by a file manager")
        assert (source.name, source.fps, source.num_frames) == ("walk", DEFAULT_FPS, 6)
        assert numbers(source) == list(range(6))
        assert numbers(source, 1, 5, 2) == [1, 3]
        assert [f.time for f in source.timed_frames(1, 3)] == [1 / 24, 2 / 24]

    def test_orientation_and_modes(self, tmp_path):
        folder = tmp_path / "walk"
        folder.mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned clockwise
        Image.fromarray(numbered(0)).save(folder / "0.jpg", exif=exif, quality=95)
        Image.fromarray(numbered(1).transpose(1, 0, 2)).convert("RGBA").save(folder / "1.png")
        source = open_video(folder)
        first, second = (rgb for _, rgb in source.frames())
        assert source.size == SIZE[::-1] == first.shape[:2] == second.shape[:2]
        assert np.abs(first.astype(int) - np.rot90(numbered(0), -1)).mean() < 25

    def test_sizes_differ(self, tmp_path):
        folder = write_frames(tmp_path / "walk", ["0.png", "1.png"])
        Image.fromarray(numbered(2, (50, 50))).save(folder / "2.png")
        with pytest.raises(InputError, match=r"2\.png"):
            open_video(folder)

    def test_empty_and_damaged(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no frames"):
            open_video(tmp_path / "empty")
        folder = write_frames(tmp_path / "walk", ["0.png", "1.png"])
        truncate(folder / "1.png", 0.7)
        with pytest.raises(InputError, match=r"1\.png"):
            list(open_video(folder).frames())
        (folder / "1.png").write_text("text")
        with pytest.raises(InputError, match=r"1\.png"):
            open_video(folder)


class TestArray:
    @pytest.mark.parametrize(
        "make",
        [
            np.stack,
            lambda f: torch.from_numpy(np.stack(f)),
            list,
            lambda f: [Image.fromarray(x) for x in f],
        ],
    )
    def test_kinds(self, make):
        source = open_video(make([numbered(i) for i in range(6)]))
        assert (source.size, source.fps, source.num_frames) == (SIZE, DEFAULT_FPS, 6)
        assert numbers(source) == list(range(6))
        assert numbers(source, 1, None, 2) == [1, 3, 5]
        assert open_video(source) is source

    @pytest.mark.parametrize(
        "frames",
        [
            np.zeros((0, 8, 8, 3), np.uint8),
            np.zeros((2, 3, 8, 8), np.uint8),
            np.zeros((2, 8, 8, 3), np.float32),
            np.zeros((8, 8, 3), np.uint8),
            [],
            3,
            ["a.png"],
        ],
    )
    def test_not_a_video(self, frames):
        with pytest.raises(InputError):
            open_video(frames)

    def test_sizes_differ(self):
        source = open_video([numbered(0), numbered(1, (50, 50))])
        with pytest.raises(InputError, match="frame 1"):
            list(source.frames())
        with pytest.raises(InputError, match="frame 1"):
            source.frames(start=2)
