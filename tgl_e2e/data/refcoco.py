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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tgl_e2e.data.base import ExpressionRecord, Frames, VideoDataset, VideoRecord, VisibleMoments
from tgl_e2e.data.files import read_json
from tgl_e2e.errors import InputError


class Shapes:
    """Segmentations (polygons or RLE) as bytes of JSON in one buffer, each kept once.

    Loader workers share the buffer; lists of numbers would be copied into each of them.
    """

    def __init__(self, origin: Path) -> None:
        self.origin = origin
        self._bytes = bytearray()
        self._known: dict[bytes, tuple[int, int]] = {}

    def add(self, segmentation: Any) -> tuple[int, int]:
        """Keeps a segmentation; returns its place."""
        content = json.dumps(segmentation, separators=(",", ":")).encode()
        if content not in self._known:
            self._known[content] = (len(self._bytes), len(content))
            self._bytes += content
        return self._known[content]

    def close(self) -> None:
        """Nothing more is added: what only adding needs is dropped."""
        self._known = {}

    def decode(self, place: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """The mask at a place as (H, W) bool; InputError if it cannot be drawn."""
        start, length = place
        segmentation = json.loads(bytes(self._bytes[start : start + length]))
        try:
            return draw(segmentation, size)
        except ValueError as error:
            raise InputError(f"{self.origin}: {error}; get the file again") from None


def draw(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """COCO's segmentation (polygons, or RLE with counts as list or str) as a mask.

    size: (H, W). Returns (H, W) bool. Raises ValueError if it is of no such form, or an RLE of
    another size.
    """
    height, width = size
    if isinstance(segmentation, Mapping):
        if segmentation.get("size") != [height, width]:
            raise ValueError(f"an RLE of size {segmentation.get('size')} for {height} x {width}")
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            segmentation = coco_mask.frPyObjects(dict(segmentation), height, width)
        elif not isinstance(counts, str):
            raise ValueError("an RLE without counts")
        return np.ascontiguousarray(coco_mask.decode(segmentation), dtype=bool)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("a segmentation that is neither polygons nor RLE")
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(isinstance(x, (int, float)) for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon that is no list of three or more x, y")
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


@dataclass(frozen=True, slots=True)
class ShapeMasks:
    """The mask of one sentence, drawn when asked for (a `MaskReader`)."""

    shapes: Shapes
    tracks: tuple[tuple[str, tuple[int, int]], ...]  # object, place of a segmentation
    size: tuple[int, int]

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if position != 0:
            raise IndexError(f"frame {position} of a video of 1 frame")
        mask = np.zeros(self.size, dtype=bool)
        for obj, place in self.tracks:
            if obj in objects:
                mask |= self.shapes.decode(place, self.size)
        return mask

    def visible(self, obj: str) -> np.ndarray:
        return np.array([any(name == obj for name, _ in self.tracks)])


def read_refcoco(root: str | Path, split: str, kind: str) -> VideoDataset:
    """Reads one split (train, val, testA, testB; test in refcocog): no picture and no mask.

    kind: refcoco, refcoco+ or refcocog.

    Raises:
        InputError: a folder or file is missing or not of the layout above.
    """
    root = Path(root)
    pictures, path = root / "train2014", annotations_path(root, kind, split)
    if not pictures.is_dir():
        raise InputError(f"{pictures}: no such folder, the pictures of COCO train2014 belong there")
    images, annotations = read_entries(path)
    shapes, tracks = Shapes(path), {}
    for annotation in annotations:
        try:
            obj = str(annotation.get("original_id", annotation["id"]))
            place = shapes.add(annotation["segmentation"])
            tracks.setdefault(annotation["image_id"], []).append((obj, place))
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{path}: an annotation without id, image_id or segmentation; "
                             f"convert the data set again") from None  # fmt: skip
    shapes.close()
    by_file: dict[str, list[ExpressionRecord]] = {}
    for image in images:
        try:
            key, file, text = str(image["id"]), str(image["file_name"]), str(image["caption"])
            size, its_tracks = (int(image["height"]), int(image["width"])), tracks[image["id"]]
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: an image entry without id, file_name, height, width, caption or "
                f"annotation ({_shown(image)}); convert the data set again"
            ) from None
        objects = tuple(dict.fromkeys(obj for obj, _ in its_tracks))
        masks = ShapeMasks(shapes, tuple(its_tracks), size)
        record = ExpressionRecord(key, text, objects, VisibleMoments(masks, objects), masks)
        by_file.setdefault(file, []).append(record)
    videos = tuple(
        VideoRecord(Path(file).stem, Frames(pictures, [file], suffix=""), tuple(records))
        for file, records in by_file.items()
    )
    if videos and not videos[0].frames[0].is_file():
        raise InputError(f"{videos[0].frames[0]}: no such picture, get all of COCO train2014")
    return VideoDataset(kind, root, split, videos)


def annotations_path(root: Path, kind: str, split: str) -> Path:
    """Where sentences and segmentations of a split are."""
    return root / kind / f"instances_{kind}_{split}.json"


def read_entries(path: Path) -> tuple[list[Any], list[Any]]:
    """The image entries and annotations of a converted file; InputError if it is none."""
    content = read_json(path, "it holds the sentences and segmentations, converted to COCO's JSON")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    ):
        raise InputError(f'{path}: has no "images" and "annotations"; convert the data set again')
    return content["images"], content["annotations"]


def _shown(entry: Any) -> str:
    return json.dumps(entry)[:80] if isinstance(entry, (dict, list)) else repr(entry)[:80]
