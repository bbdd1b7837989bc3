"""Reading of video, one frame at a time: memory does not grow with a video's length.

Frames are numbered from 0 in the order in which the decoder hands them out (which is the order of
display), whatever their timestamps; a video of variable frame rate has one number per frame too.
"""

import operator
import os
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition
from PIL import Image, ImageOps

from tgl_e2e.errors import InputError

DEFAULT_FPS = 24.0  # of folders and arrays, which do not say: the rate of cinema
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class VideoWarning(UserWarning):
    """The video could not be read as it should: something is missing from what was read."""


@dataclass(frozen=True)
class Frame:
    """One frame: its number in the original video, its time in seconds, rgb (H, W, 3) uint8."""

    number: int
    time: float
    rgb: np.ndarray


class VideoSource(ABC):
    """A video that can be read any number of times, from the first frame on.

    name: for output folders; fps: the average rate; size: (H, W) as displayed, rotation applied;
    num_frames: None as long as it is not known for certain (a file has to be read to its end);
    num_frames_hint: what the container claims, for a progress bar and nothing else.
    """

    name: str
    fps: float
    size: tuple[int, int]
    num_frames: int | None = None
    num_frames_hint: int | None = None

    def frames(
        self, start: int = 0, end: int | None = None, stride: int = 1
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Pairs (original frame number, rgb (H, W, 3) uint8) of frames start, start + stride, ...
        below end. InputError if the range is invalid or holds no frame."""
        return ((f.number, f.rgb) for f in self.timed_frames(start, end, stride))

    def timed_frames(
        self, start: int = 0, end: int | None = None, stride: int = 1
    ) -> Iterator[Frame]:
        """As `frames`, with each frame's own timestamp."""
        try:
            start, stride = operator.index(start), operator.index(stride)
            end = None if end is None else operator.index(end)
        except TypeError:
            raise InputError(f"start {start}, end {end}, stride {stride}: give integers") from None
        if start < 0:
            raise InputError(f"start {start}: the first frame is number 0, give 0 or more")
        if stride < 1:
            raise InputError(f"stride {stride}: give 1 (every frame) or more")
        if end is not None and end <= start:
            raise InputError(f"end {end}: it is exclusive, give a number above start ({start})")
        if self.num_frames is not None:
            self._check_start(start, self.num_frames)
        return self._read(start, end, stride)

    def _check_start(self, start: int, num_frames: int) -> None:
        if start >= num_frames:
            raise InputError(
                f"start {start}: '{self.name}' ends with frame {num_frames - 1}, "
                f"start there or before"
            )

    @abstractmethod
    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]: ...


def open_video(source: object) -> VideoSource:
    """A VideoSource from the path of a video file, the path of a folder of frames, an array or
    tensor (T, H, W, 3) uint8, a sequence of (H, W, 3) uint8 arrays or PIL images.

    InputError if it is none of these, or if not even one frame can be read.
    """
    if isinstance(source, VideoSource):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder, check the path of the video")
        return _Folder(path) if path.is_dir() else _File(path)
    return _Array(source)


# --- files ---------------------------------------------------------------------------------------


class _File(VideoSource):
    def __init__(self, path: Path):
        self._path = path
        self.name = path.resolve().stem
        self._warned = False
        with self._open() as container:
            stream = self._choose_stream(container)
            self._stream_index = stream.index
            frame = next(_decode(container, stream, errors=[]), None)
            if frame is None:
                raise InputError(
                    f"{path}: not one frame can be decoded, the file is damaged or empty; "
                    f"check that it plays, or convert it to mp4 again"
                )
            self._coded_size = (frame.height, frame.width)
            self._matrix = _display_matrix(frame)
            swaps = self._matrix[0] == 0
            self.size = self._coded_size[::-1] if swaps else self._coded_size
            self.fps = float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
            self._claimed_frames = stream.frames
            self._claimed_seconds = _claimed_seconds(stream)
            seconds = self._claimed_seconds or (container.duration or 0) / av.time_base
            self.num_frames_hint = stream.frames or round(seconds * self.fps) or None

    def _open(self) -> av.container.InputContainer:
        try:
            # The absolute path keeps names like "a:b.mp4" from being taken for a protocol.
            container = av.open(str(self._path.resolve()))
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
        last_time = 0.0
        with self._open() as container:
            stream = container.streams[self._stream_index]
            first_time = (stream.start_time or 0) * float(stream.time_base)
            for frame in _decode(container, stream, errors):
                number, count = count, count + 1
                last_time = number / self.fps if frame.time is None else frame.time - first_time
                if number >= start and (number - start) % stride == 0:
                    yield Frame(number, last_time, self._to_rgb(frame))
                if count == end:
                    break
            else:
                self.num_frames = count
                self._check_start(start, count)
                if self._ends_early(count, last_time):
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

    def _ends_early(self, count: int, last_time: float) -> bool:
        """A cut file is not an error to every demuxer, it may just end: compare with the header.
        With slack, since durations are rounded and edit lists hide frames."""
        if self._claimed_frames and count >= self._claimed_frames:
            return False
        missing = (self._claimed_seconds or 0.0) - (last_time + 1 / self.fps)
        return missing > max(0.25, 2.5 / self.fps)

    def _to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        height, width = self._coded_size  # streams may change size midway: the first size stays
        rgb = frame.to_ndarray(format="rgb24", width=width, height=height)
        return _apply_matrix(rgb, self._matrix)


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
    data = frame.side_data.get("DISPLAYMATRIX")
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


# --- folders and arrays --------------------------------------------------------------------------


class _Folder(VideoSource):
    def __init__(self, path: Path):
        self.path = path
        self.name = path.resolve().name or "frames"
        self.fps = DEFAULT_FPS
        self._files = sorted((f for f in path.iterdir() if _is_image(f)), key=_natural_order)
        if not self._files:
            raise InputError(
                f"{path}: no frames in this folder, it needs {', '.join(IMAGE_SUFFIXES)} files"
            )
        self.num_frames = self.num_frames_hint = len(self._files)
        self.size = _load_image(self._files[0]).shape[:2]
        # Headers only, so that a stray picture shows before the work starts and not after it.
        for file in self._files:
            with _opened_image(file) as image:
                if image.size not in (self.size, self.size[::-1]):
                    raise self._size_error(file, image.size[::-1])

    def _size_error(self, file: Path, size: tuple[int, int]) -> InputError:
        return InputError(
            f"{file}: {size[1]}x{size[0]} pixels, but the first frame has "
            f"{self.size[1]}x{self.size[0]}; all frames of a folder must have one size"
        )

    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        for number in range(self.num_frames)[start:end:stride]:
            rgb = _load_image(self._files[number])
            if rgb.shape[:2] != self.size:
                raise self._size_error(self._files[number], rgb.shape[:2])
            yield Frame(number, number / self.fps, rgb)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _natural_order(path: Path) -> tuple:
    """frame2 before frame10, whatever the number of digits."""
    text_and_numbers = re.split(r"([0-9]+)", path.name.lower())  # numbers at odd places
    parts = [int(p) if i % 2 else p for i, p in enumerate(text_and_numbers)]
    return parts, path.name


def _opened_image(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"{path}: not a readable picture, replace or remove it") from None


def _load_image(path: Path) -> np.ndarray:
    with _opened_image(path) as image:
        try:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            raise InputError(f"{path}: a damaged picture, replace or remove it") from None


class _Array(VideoSource):
    def __init__(self, frames: Sequence):
        self.name = "array"
        self.fps = DEFAULT_FPS
        self._frames = frames
        try:
            self.num_frames = self.num_frames_hint = len(frames)
        except TypeError:
            raise InputError(
                f"a video of type {type(frames).__name__}: give a path, an array or tensor "
                f"(T, H, W, 3) uint8, or a sequence of (H, W, 3) uint8 arrays or PIL images"
            ) from None
        if not self.num_frames:
            raise InputError("an empty array as video: give at least one frame")
        self.size = _to_array(frames[0], 0).shape[:2]

    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        for number in range(self.num_frames)[start:end:stride]:
            rgb = _to_array(self._frames[number], number)
            if rgb.shape[:2] != self.size:
                raise InputError(
                    f"frame {number} of the array: size {rgb.shape[:2]}, but the first frame has "
                    f"{self.size}; all frames must have one size"
                )
            yield Frame(number, number / self.fps, rgb)


def _to_array(frame: object, number: int) -> np.ndarray:
    if isinstance(frame, Image.Image):
        return np.array(frame.convert("RGB"))
    if hasattr(frame, "detach"):  # a torch tensor; torch need not be imported for this
        frame = frame.detach().cpu().numpy()
    if not (
        isinstance(frame, np.ndarray)
        and frame.dtype == np.uint8
        and frame.ndim == 3
        and frame.shape[2] == 3
        and frame.size
    ):
        kind = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame)
        raise InputError(f"frame {number} of the array: {kind}; it must be uint8 (H, W, 3), RGB")
    return np.ascontiguousarray(frame)
