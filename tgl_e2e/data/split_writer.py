"""Writes rendered videos as a split in the layout of MeViS, with moments.json and scenes.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tgl_e2e.data.base import Span
from tgl_e2e.data.moments_json import MOMENTS_NAME, Moments, write_moments
from tgl_e2e.errors import InputError
from tgl_e2e.files import replacing
from tgl_e2e.results import encode_mask

QUALITY, PHOTO_QUALITY = 95, 88  # of the JPEGs; of photographs


@dataclass(frozen=True)
class Told:
    """A sentence about a video: its text, and the moments of each object that it means, by the
    object's number; none: nothing fulfils it."""

    text: str
    moments: Mapping[int, Sequence[Span]]


class SplitWriter:
    """Pictures are written as they come, the rest by :meth:`finish`."""

    def __init__(self, folder: Path, quality: int = QUALITY) -> None:
        self.folder = folder
        self.quality = quality
        self.videos: dict[str, dict] = {}
        self.masks: dict[str, list[dict | None]] = {}
        self.moments: Moments = {}
        self.scenes: dict[str, dict] = {}

    def add(
        self,
        name: str,
        rgb: np.ndarray,
        ids: np.ndarray,
        num_objects: int,
        told: Sequence[Told],
        scene: dict,
    ) -> None:
        """One video.

        Args:
            rgb: (T, H, W, 3) uint8.
            ids: (T, H, W), 0 background, i + 1 where object i is seen.
            told: its sentences.
            scene: what is in it, for the analysis of failures (see docs/data.md).
        """
        frames = [f"{t:05d}" for t in range(len(rgb))]
        pictures = self.folder / "JPEGImages" / name
        pictures.mkdir(parents=True)
        for frame, picture in zip(frames, rgb, strict=True):
            Image.fromarray(picture).save(pictures / f"{frame}.jpg", quality=self.quality)
        first = len(self.masks)
        for index in range(num_objects):
            seen = [frame == index + 1 for frame in ids]
            self.masks[str(first + index)] = [encode_mask(m) if m.any() else None for m in seen]
        expressions, moments = {}, {}
        for n, said in enumerate(told):
            annotations = [first + index for index in said.moments]
            entry = {"exp": said.text, "obj_id": list(said.moments), "anno_id": annotations}
            expressions[str(n)] = entry
            moments[str(n)] = {str(i): list(spans) for i, spans in said.moments.items()}
        self.videos[name] = {"frames": frames, "expressions": expressions}
        self.moments[name] = moments
        self.scenes[name] = scene

    def finish(self) -> None:
        """Writes what is known of the videos."""
        for name, content in (
            ("meta_expressions", {"videos": self.videos}),
            ("mask_dict", self.masks),
            ("scenes", {"version": 1, "videos": self.scenes}),
        ):
            (self.folder / f"{name}.json").write_text(json.dumps(content))
        write_moments(self.folder / MOMENTS_NAME, self.moments)


@contextmanager
def new_split(output: Path, split: str, quality: int = QUALITY) -> Iterator[SplitWriter]:
    """A writer of <output>/<split>, where nothing is left unless all of it could be written.

    Raises InputError where <output>/<split> holds something, or cannot be written.
    """
    folder = output / split
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty: remove it or choose another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as draft:
            draft.mkdir()
            writer = SplitWriter(draft, quality)
            yield writer
            writer.finish()
            if folder.exists():
                folder.rmdir()
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}): mend that or choose another --output"
        ) from error
