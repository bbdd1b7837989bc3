"""Reader of RefCOCO, RefCOCO+ and RefCOCOg, converted to COCO's JSON.

    <root>/train2014/<file_name>
    <root>/<name>/instances_<name>_<split>.json   {"images": [{"id", "file_name", "height", "width",
        "caption", ...}], "annotations": [{"image_id", "segmentation", "original_id", ...}]}

One image entry and one annotation per sentence, as the conversion scripts of the field write them;
<name> is refcoco, refcoco+ or refcocog. The original pickles are not read: unpickling a downloaded
file runs what it says. A picture is a video of one frame here, with all its sentences; the object
is always seen, so its moments are that frame.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tgl_e2e.data.base import (
    ExpressionRecord,
    Frames,
    MaskReader,
    VideoDataset,
    VideoRecord,
    VisibleMoments,
)
from tgl_e2e.data.faults import NO_TEXT, STRICT, UNSAFE_NAME, Faults, Findings, Kind
from tgl_e2e.data.rle import draw
from tgl_e2e.errors import InputError
from tgl_e2e.files import UNSAFE, is_text, read_json

CONVERT = "convert the data set again"
IMAGE_ENTRY = Kind("image entries without id, file_name, height or width", CONVERT)
ANNOTATION = Kind("annotations without id, image_id or segmentation", CONVERT)
TWICE = Kind("ids of image entries that stand there twice", CONVERT)
NO_ANNOTATION = Kind("sentences without an annotation", CONVERT)
NO_IMAGE = Kind("annotations of unknown image entries", CONVERT)
SIZE = Kind(
    "image entries that differ in size from their picture",
    "use COCO's train2014 as it is, not resized",
)
MASK = Kind("segmentations that cannot be drawn", CONVERT)
EMPTY = Kind("segmentations without a pixel")


@dataclass(frozen=True, slots=True)
class ShapeMasks(MaskReader):
    """The mask of one sentence, drawn when asked for.

    origin: the file it stands in; tracks: (object, segmentation); size: (H, W).
    """

    origin: Path
    tracks: Sequence[tuple[str, Any]]
    size: tuple[int, int]

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if position != 0:
            raise IndexError(f"frame {position} of a video of 1 frame")
        mask = np.zeros(self.size, dtype=bool)
        try:
            for obj, segmentation in self.tracks:
                mask |= draw(segmentation, self.size) if obj in objects else False
        except ValueError as error:
            raise InputError(f"{self.origin}: {error}; get the file again") from None
        return mask

    def visible(self, obj: str) -> np.ndarray:
        return np.array([any(name == obj for name, _ in self.tracks)])


class Sentences(Sequence):
    """The sentences of one picture, as records that are made when asked for.

    Those of all pictures are kept as JSON in one buffer, which loader workers share: the same as
    Python objects, some hundred MB, would be copied into each of them. Compressed, since an
    object's outline comes with each of its sentences.
    """

    __slots__ = ("_buffer", "_length", "_origin", "_place")

    def __init__(self, origin: Path, buffer: bytearray, entries: list) -> None:
        """entries: [id, text, height, width, [[object, segmentation], ...]] each."""
        content = zlib.compress(json.dumps(entries).encode(), level=1)
        self._origin, self._length = origin, len(entries)
        self._buffer, self._place = buffer, (len(buffer), len(buffer) + len(content))
        buffer += content

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Any:
        return tuple(self)[index]

    def __iter__(self) -> Iterator[ExpressionRecord]:
        start, end = self._place
        for key, text, *size, tracks in json.loads(zlib.decompress(self._buffer[start:end])):
            objects = tuple(dict.fromkeys(obj for obj, _ in tracks))
            masks = ShapeMasks(self._origin, tracks, tuple(size))
            yield ExpressionRecord(key, text, objects, VisibleMoments(masks, objects), masks)


def read_refcoco(
    root: str | Path, split: str, kind: str = "refcoco", faults: Faults = STRICT
) -> VideoDataset:
    """Reads one split (train, val, testA, testB; test in refcocog): no picture and no mask.

    Args:
        kind: refcoco, refcoco+ or refcocog.

    Raises:
        InputError: a file is missing or (with strict faults) not of the layout above.
    """
    root = Path(root)
    path = root / kind / f"instances_{kind}_{split}.json"
    content = read_json(path, "it holds the sentences and segmentations, converted to COCO's JSON")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise InputError(f'{path}: has no "images" and "annotations"; convert the data set again')
    tracks, buffer = {}, bytearray()
    for annotation in content["annotations"]:
        try:
            obj = str(annotation.get("original_id", annotation["id"]))
            track = obj, annotation["segmentation"]
            tracks.setdefault(annotation["image_id"], []).append(track)
        except (AttributeError, KeyError, TypeError):
            faults.error(ANNOTATION, path, "", _shown(annotation))
    known, by_file = set(), {}
    for image in content["images"]:
        try:
            key, file = image["id"], str(image["file_name"])
            place, size = f"image entry {key}", [int(image["height"]), int(image["width"])]
            its_tracks = tracks.get(key, [])
            if min(size) < 1:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            faults.error(IMAGE_ENTRY, path, "", _shown(image))
            continue
        text = image.get("caption")
        unsafe = [part for part in (str(key), *file.split("/")) if UNSAFE.search(part)]
        for part in unsafe:  # a file has a folder in some conversions
            faults.error(UNSAFE_NAME, path, place, ascii(part))
        if not is_text(text):
            faults.error(NO_TEXT, path, place)
        if not its_tracks:
            faults.error(NO_ANNOTATION, path, place)
        if key in known:
            faults.warn(TWICE, path, place)
        known.add(key)
        if not unsafe:
            by_file.setdefault(file, []).append([str(key), text, *size, its_tracks])
    for key in tracks.keys() - known:
        faults.warn(NO_IMAGE, path, f"annotations of image entry {key}")
    videos = []
    for name, entries in by_file.items():
        file = root / "train2014" / name
        frames = Frames(file.parent, [file.name], "")
        name = str(Path(name).with_suffix(""))
        videos.append(VideoRecord(name, frames, Sentences(path, buffer, entries)))
    return VideoDataset(kind, root, split, tuple(videos))


def _shown(entry: Any) -> str:
    return json.dumps(entry)[:80] if isinstance(entry, (dict, list)) else repr(entry)[:80]


def examine(video: VideoRecord, size: tuple[int, int] | None, findings: Findings) -> None:
    """Draws every segmentation of a picture, and compares sizes.

    size: (H, W) of the picture, None if it cannot be read.
    """
    for sentence in video.expressions:
        masks, place = sentence.masks, f"image entry {sentence.id}"
        if size not in (None, masks.size):
            detail = f"{list(masks.size)}, {video.frames[0].name} {list(size)}"
            findings.error(SIZE, masks.origin, place, detail)
        for _, segmentation in masks.tracks:
            findings.masks += 1
            try:
                if not draw(segmentation, masks.size).any():
                    findings.warn(EMPTY, masks.origin, place)
            except (ValueError, TypeError) as error:
                findings.error(MASK, masks.origin, place, error)
