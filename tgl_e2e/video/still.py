"""Videos of still images: folders, arrays, animations; images as 8-bit RGB of any depth."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tgl_e2e.errors import InputError
from tgl_e2e.video.source import DEFAULT_FPS, Frame, VideoSource, VideoWarning

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def opened_image(path: Path) -> Image.Image:
    """An image whose header has been read.

    Raises:
        InputError: it is none, or larger than Pillow opens.
    """
    try:
        return Image.open(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InputError(f"{path}: not a readable image, replace or remove it") from None


def load_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, turned as EXIF says."""
    with opened_image(path) as image:
        try:
            return rgb_of(ImageOps.exif_transpose(image), path.parent)
        except (OSError, SyntaxError, ValueError):
            raise InputError(f"{path}: a damaged image, replace or remove it") from None


def rgb_of(image: Image.Image, path: Path | str) -> np.ndarray:
    """(H, W, 3) uint8. Deeper images are scaled by their depth (Pillow's own conversion clips), and
    what is transparent lies on white, with a warning: the colour hidden there is anything."""
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.float64)
        grey = np.rint(np.clip(values / _white(values, image.mode), 0, 1) * 255).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            warnings.warn(
                f"{path}: has transparent parts; they are taken for white",
                VideoWarning,
                stacklevel=2,
            )
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _white(values: np.ndarray, mode: str) -> float:
    """The value of white: of 16-bit integers their largest; of floats 1, or 255 or that of 16 bits
    where they are larger."""
    if mode != "F":
        return 65535.0
    highest = values.max(initial=0)
    return 1.0 if highest <= 1 else 255.0 if highest <= 255 else 65535.0


# --- videos of them ---


class ImageFolder(VideoSource):
    def __init__(self, path: Path):
        self.path = path
        self.name = path.resolve().name or "frames"
        self.fps = DEFAULT_FPS
        self._files = sorted((f for f in path.iterdir() if _is_image(f)), key=_natural_order)
        if not self._files:
            raise InputError(
                f"{path}: no frames in this folder, it needs {', '.join(IMAGE_SUFFIXES)} files"
            )
        twice = [stem for stem, count in Counter(f.stem for f in self._files).items() if count > 1]
        if twice:
            names = " and ".join(f.name for f in self._files if f.stem == twice[0])
            raise InputError(
                f"{path}: holds {names}, of one name: frames and their masks, or two copies? Give "
                "a folder with nothing but frames"
            )
        self.num_frames = self.num_frames_hint = len(self._files)
        self.size = load_image(self._files[0]).shape[:2]
        # Headers only, so that a stray picture shows before the work starts and not after it.
        for file in self._files:
            with opened_image(file) as image:
                if image.size not in (self.size, self.size[::-1]):
                    raise self._size_error(file, image.size[::-1])

    def _size_error(self, file: Path, size: tuple[int, int]) -> InputError:
        return InputError(
            f"{file}: {size[1]}x{size[0]} pixels, but the first frame has "
            f"{self.size[1]}x{self.size[0]}; all frames of a folder must have one size"
        )

    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        for number in range(self.num_frames)[start:end:stride]:
            rgb = load_image(self._files[number])
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


class Animation(VideoSource):
    """An animated WebP, which FFmpeg does not read, or a still one."""

    def __init__(self, path: Path):
        self._path = path
        self.name = path.resolve().stem
        with opened_image(path) as image:
            self.num_frames = self.num_frames_hint = getattr(image, "n_frames", 1)
            self.size = image.size[::-1]
            image.load()
            seconds = image.info.get("duration", 0) / 1000
        self.fps = 1 / seconds if seconds else DEFAULT_FPS

    def _read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        time = 0.0
        with opened_image(self._path) as image:
            for number in range(self.num_frames if end is None else min(end, self.num_frames)):
                try:
                    image.seek(number)
                    rgb = rgb_of(image, self._path)
                except (OSError, EOFError, ValueError):
                    raise InputError(
                        f"{self._path}: frame {number} is damaged, give --end {number}"
                    ) from None
                if number >= start and (number - start) % stride == 0:
                    yield Frame(number, time, rgb)
                time += image.info.get("duration", 0) / 1000 or 1 / self.fps


class ImageArray(VideoSource):
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
        return rgb_of(frame, f"frame {number} of the array")
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
