import av
import numpy as np
import pytest
from small_videos import number_of, numbered

from tgl_e2e.video.reader import open_video
from tgl_e2e.video.writer import VideoWriter


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (48, 61), (1, 1), (16, 200)])
def test_plays_in_browsers(tmp_path, size):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 30000 / 1001, size) as writer:
        for i in range(5):
            writer.write(numbered(i, size))
    assert [f.name for f in tmp_path.iterdir()] == ["out.mp4"]
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # starts before it is loaded
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert stream.average_rate * 1001 == 30000
        assert (stream.height, stream.width) == tuple(n + n % 2 for n in size)
    frames = list(open_video(path).frames())
    assert len(frames) == 5
    if min(size) > 8:
        assert [number_of(rgb) for _, rgb in frames] == [0, 1, 2, 3, 4]


def test_odd_sides_repeat_the_last_row_and_column(tmp_path):
    frame = np.zeros((15, 17, 3), np.uint8)
    frame[-1] = frame[:, -1] = 255
    with VideoWriter(tmp_path / "out.mp4", 24, (15, 17)) as writer:
        writer.write(frame)
    (_, rgb), *_ = open_video(tmp_path / "out.mp4").frames()
    assert rgb.shape == (16, 18, 3)
    assert rgb[15].mean() > 200 and rgb[:, 17].mean() > 200


def test_colours_survive(tmp_path):
    for colour in ((255, 0, 0), (30, 200, 90), (20, 60, 220), (128, 128, 128)):
        frame = np.full((64, 64, 3), colour, np.uint8)
        with VideoWriter(tmp_path / "out.mp4", 24, (64, 64)) as writer:
            writer.write(frame)
        (_, rgb), *_ = open_video(tmp_path / "out.mp4").frames()
        assert np.abs(rgb.astype(int) - frame).max() <= 6


def test_times(tmp_path):
    times = [2.0, 2.1, 2.7, 2.7, 2.6, 4.0]  # start anywhere; a repeated and a backward one
    with VideoWriter(tmp_path / "out.mp4", 10, (48, 64)) as writer:
        for i, time in enumerate(times):
            writer.write(numbered(i), time)
    frames = list(open_video(tmp_path / "out.mp4").timed_frames())
    assert [number_of(f.rgb) for f in frames] == [0, 1, 2, 3, 4, 5]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(2.1, abs=0.02)
    assert [f.time for f in frames] == pytest.approx([0, 0.1, 0.7, 0.7, 0.7, 2.0], abs=1e-3)


def test_nothing_is_left_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "out.mp4", 24, (48, 64)) as w:
        w.write(numbered(0))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
