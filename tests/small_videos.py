"""Small video files for tests, whose frames carry their number as a pattern that survives
compression."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (48, 64)


def numbered(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame (H, W, 3): 8 columns of black or white are the bits of the number (lowest first),
    the upper left corner is red, the lower left one is blue."""
    height, width = size
    bits = [number >> bit & 1 for bit in range(8)]
    row = np.repeat(np.array(bits, np.uint8) * 255, -(-width // 8))[:width]
    frame = np.repeat(np.tile(row, (height, 1))[..., None], 3, axis=2)
    frame[: height // 4, : width // 2] = (255, 0, 0)
    frame[-(height // 4) :, : width // 2] = (0, 0, 255)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that `numbered` put into a frame."""
    height, width, _ = frame.shape
    step = width / 8
    return sum(
        int(frame[height // 2, int((bit + 0.5) * step)].mean() > 127) << bit for bit in range(8)
    )


def write_video(
    path: Path,
    num_frames: int = 12,
    size: tuple[int, int] = SIZE,
    fps: int = 24,
    codec: str = "libx264",
    times: list[float] | None = None,
    streams: str = "v",
    matrix: tuple[int, int, int, int] | None = None,
) -> Path:
    """A video of `numbered` frames.

    times: of the frames in seconds; none: regular
    streams: of v (the video), a (sound) and c (cover art), in the order of the file
    matrix: a, b, c, d of the display matrix (mp4 with one video stream)
    """
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        bframes = "2" if times is None else "0"
        made = [(kind, _add_stream(container, kind, size, fps, codec, bframes)) for kind in streams]
        for kind, stream in made:
            for frame in _stream_frames(kind, num_frames, size, fps, times):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    if matrix is not None:
        _set_matrix(path, matrix)
    return path


def _add_stream(container, kind: str, size: tuple[int, int], fps: int, codec: str, bframes: str):
    if kind == "a":
        return container.add_stream("aac", rate=44100, layout="mono")
    stream = container.add_stream(codec if kind == "v" else "mjpeg", rate=fps)
    stream.height, stream.width = size if kind == "v" else (320, 320)
    stream.pix_fmt = "yuv420p" if kind == "v" else "yuvj420p"
    if kind == "c":
        stream.disposition = av.stream.Disposition.attached_pic
    elif codec == "libx264":
        stream.options = {"crf": "12", "preset": "veryfast", "bf": bframes}
        stream.gop_size = 6
        stream.codec_context.time_base = Fraction(1, 1000 * fps)
    return stream


def _stream_frames(kind: str, num_frames: int, size: tuple[int, int], fps: int, times):
    if kind == "c":
        black = np.zeros((320, 320, 3), np.uint8)
        yield av.VideoFrame.from_ndarray(black, "rgb24").reformat(format="yuvj420p")
        return
    for i in range(num_frames):
        if kind == "a":
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.rate, frame.pts = 44100, 1024 * i
        else:
            frame = av.VideoFrame.from_ndarray(numbered(i, size), "rgb24")
            seconds = i / fps if times is None else times[i]
            frame.time_base, frame.pts = Fraction(1, 1000 * fps), round(seconds * 1000 * fps)
        yield frame


def _set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrites the display matrix in the track header (ISO 14496-12, 8.3.2)."""
    a, b, c, d = (value << 16 for value in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def truncate(path: Path, share: float) -> Path:
    """Cuts a file down to a share of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
