"""Video files, through FFmpeg."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from tgl_e2e.errors import InputError
from tgl_e2e.video.colour import needs_conversion, to_srgb
from tgl_e2e.video.source import DEFAULT_FPS, Frame, VideoSource, VideoWarning

FASTEST = 240.0  # frames per second; a container that claims more counts in milliseconds


class VideoFile(VideoSource):
    def __init__(self, path: Path):
        self._path = path
        self.name = path.resolve().stem
        self._warned = False
        with self._open() as container:
            stream = self._choose_stream(container)
            self._stream_index = stream.index
            frames = _decode(container, stream, errors=[])
            frame = next(frames, None)
            if frame is None:
                raise InputError(
                    f"{path}: not one frame can be decoded, the file is damaged or empty; "
                    f"check that it plays, or convert it to mp4 again"
                )
            self._interlaced = frame.interlaced_frame
            self._coded_size = (frame.height, frame.width)
            self._matrix = _display_matrix(frame)
            swaps = self._matrix[0] == 0
            self.size = self._coded_size[::-1] if swaps else self._coded_size
            self.fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            if self.fps > FASTEST:
                self.fps = _measured_fps([frame, *islice(frames, 29)])
            aspect = stream.sample_aspect_ratio or Fraction(1)
            self.pixel_aspect = 1 / aspect if swaps else aspect
            self._claimed_frames = stream.frames
            self._claimed_seconds = _claimed_seconds(stream)
            seconds = self._claimed_seconds or (container.duration or 0) / av.time_base
            self.num_frames_hint = stream.frames or round(seconds * self.fps) or None

    def _open(self) -> av.container.InputContainer:
        try:
            # The absolute path keeps names like "a:b.mp4" from being taken for a protocol.
            container = av.open(str(self._path.resolve()), metadata_errors="replace")
        except PermissionError:
            raise InputError(f"{self._path}: no permission to read it") from None
        except (FFmpegError, OSError) as error:
            raise InputError(
                f"{self._path}: cannot be opened as a video ({error.strerror}); check that it "
                f"plays, a recording or download that broke off has to be made or repaired again"
            ) from None
        if container.format.name == "tty":  # FFmpeg renders any .txt as terminal art
            container.close()
            raise InputError(f"{self._path}: this is a text file, give a video or a folder")
        return container

    def _choose_stream(self, container: av.container.InputContainer) -> av.VideoStream:
        still = Disposition.attached_pic | Disposition.timed_thumbnails  # cover art
        moving = [s for s in container.streams.video if not s.disposition & still]
        if not moving:
            raise InputError(f"{self._path}: holds no video stream, give a file with a picture")
        best = container.streams.best("video")
        return next((s for s in moving if best is not None and s.index == best.index), moving[0])

    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        errors: list[str] = []
        count = 0
        last_time = last_length = 0.0
        with self._open() as container:
            stream = container.streams[self._stream_index]
            first_time = (stream.start_time or 0) * float(stream.time_base)
            frames = _decode(container, stream, errors)
            for frame, time, length in _deinterlaced(frames, stream, self._interlaced):
                number, count = count, count + 1
                last_time = number / self.fps if time is None else time - first_time
                last_length = max(length, 1 / self.fps)
                if number >= start and (number - start) % stride == 0:
                    yield Frame(number, last_time, self._to_rgb(frame))
                if count == end:
                    break
            else:
                self.num_frames = count
                self._check_start(start, count)
                if self._ends_early(count, last_time + last_length):
                    errors.append("it ends early")
        if errors and not self._warned:
            self._warned = True
            hint = self.num_frames_hint or 0
            of = f" of about {hint}" if hint > count else ""
            warnings.warn(
                f"{self._path}: damaged or truncated ({errors[0]}): {count}{of} frames can be "
                f"decoded, and these are used",
                VideoWarning,
                stacklevel=1,
            )

    def _ends_early(self, count: int, end: float) -> bool:
        """A cut file is not an error to every demuxer, it may just end: compare with the header.
        With slack, since durations are rounded and edit lists hide frames."""
        if self._claimed_frames and count >= self._claimed_frames:
            return False
        missing = (self._claimed_seconds or 0.0) - end
        return missing > max(0.25, 2.5 / self.fps)

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        height, width = self._coded_size  # streams may change size midway: the first size stays
        if needs_conversion(frame):
            rgb = to_srgb(frame, width, height)
        else:
            rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
        return _apply_matrix(rgb, self._matrix)


def _measured_fps(frames: list[av.VideoFrame]) -> float:
    """From the time between frames: recordings by browsers claim 1000."""
    steps = np.diff([frame.time for frame in frames if frame.time is not None])
    return float(1 / np.median(steps)) if len(steps) and np.median(steps) > 0 else DEFAULT_FPS


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, errors: list[str]
) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; what goes wrong is noted in `errors` and stepped over."""
    stream.thread_type = "AUTO"
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            errors.append(f"{error.strerror}")
            return
        if packet is None:
            return
        if packet.is_corrupt:
            errors.append("a piece of the file is missing")
        try:
            yield from packet.decode()
        except FFmpegError as error:
            errors.append(f"{error.strerror}")


def _deinterlaced(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream, interlaced: bool
) -> Iterator[tuple[av.VideoFrame, float | None, float]]:
    """Frames with their time and length in seconds; of interlaced video both fields in one frame,
    without combs (FFmpeg's bwdif), which hands out as many frames as it takes in."""
    base = float(stream.time_base)
    if not interlaced:
        yield from ((frame, frame.time, (frame.duration or 0) * base) for frame in frames)
        return
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    bwdif, sink = graph.add("bwdif", "mode=send_frame:deint=all"), graph.add("buffersink")
    graph.link_nodes(source, bwdif, sink).configure()
    times: deque[tuple[float | None, float]] = deque()
    for frame in chain(frames, [None]):
        if frame is not None:
            times.append((frame.time, (frame.duration or 0) * base))
        graph.push(frame)
        while times:
            try:
                yield graph.pull(), *times.popleft()
            except (av.error.BlockingIOError, av.error.EOFError):
                break


def _claimed_seconds(stream: av.VideoStream) -> float | None:
    """Length of this stream (not of the file, whose sound may be longer) as the header has it."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    for key, value in stream.metadata.items():  # Matroska writes it as a tag, "00:00:09.5"
        match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d*)?)", value)
        if key.startswith("DURATION") and match:
            hours, minutes, seconds = (float(g) for g in match.groups())
            return 3600 * hours + 60 * minutes + seconds
    return None


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Signs (a, b, c, d) of the display matrix, x' = a x + c y, y' = b x + d y, with y downwards;
    angles between quarter turns go to the nearest one, as players do."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # beside it lies something that PyAV has no name for, such as EXIF
        turns = round(frame.rotation / 90) % 4  # counter-clockwise; a mirror image is not told
        return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[turns]
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(int)
    if abs(a) >= abs(b):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _apply_matrix(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    a, b, c, d = matrix
    if a == 0:
        rgb = rgb.transpose(1, 0, 2)
    rgb = rgb[:: b + d, :: a + c]  # one of each pair is 0, the other the direction of the axis
    return np.ascontiguousarray(rgb)
