"""Writing of video that browsers play."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tgl_e2e.files import replacing


class VideoWriter:
    """Writes rgb frames as H.264 in mp4 that browsers play (yuv420p, BT.709, index in front).

    H.264 in yuv420p has even sides: an odd one gets its last row or column once more. The file
    bears its name only when it is complete; after an error nothing is left behind.
    """

    _TICKS = 90_000  # per second, the usual clock of video: fine enough for any timestamp

    def __init__(
        self,
        path: str | os.PathLike,
        fps: float,
        size: tuple[int, int],
        pixel_aspect: Fraction = Fraction(1),
    ):
        self._path = Path(path)
        self._fps = fps
        self._size = size
        self._pixel_aspect = pixel_aspect
        self._first_time: float | None = None
        self._last_tick = -1

    def __enter__(self) -> "VideoWriter":
        self._replacing = replacing(self._path)
        self._temporary = self._replacing.__enter__()
        height, width = self._size
        self._container = av.open(
            str(self._temporary), "w", format="mp4", options={"movflags": "faststart"}
        )
        self._stream = self._container.add_stream(
            "libx264", rate=Fraction(self._fps).limit_denominator(1001)
        )
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        # Without B-frames (bf) decoding order is display order: with them and uneven timestamps the
        # muxer gets the duration wrong.
        self._stream.options = {"crf": "18", "preset": "veryfast", "bf": "0"}
        context = self._stream.codec_context
        context.time_base = Fraction(1, self._TICKS)
        context.sample_aspect_ratio = self._pixel_aspect
        # Without these tags a player guesses the colour matrix from the size of the picture.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # limited, 16 to 235
        return self

    def write(self, rgb: np.ndarray, time: float | None = None) -> None:
        """Adds rgb (H, W, 3) uint8, shown at `time` seconds after the first frame's time, or one
        frame duration after the frame before."""
        assert rgb.shape == (*self._size, 3), (rgb.shape, self._size)
        height, width = self._size
        if height % 2 or width % 2:
            rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.time_base = Fraction(1, self._TICKS)
        frame.pts = self._last_tick = self._tick(time)
        self._container.mux(self._stream.encode(frame))

    def _tick(self, time: float | None) -> int:
        if self._last_tick < 0:
            self._first_time = time
            return 0
        step = round(self._TICKS / self._fps)
        if time is None or self._first_time is None:
            return self._last_tick + step
        tick = round((time - self._first_time) * self._TICKS)
        return tick if tick > self._last_tick else self._last_tick + 1  # broken timestamps

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        finally:
            self._replacing.__exit__(kind, error, trace)
