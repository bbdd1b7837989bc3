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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from tgl_e2e.data.base import ExpressionRecord, Frames, VideoDataset, VideoRecord, VisibleMoments
from tgl_e2e.data.files import check_name, check_text, read_json
from tgl_e2e.errors import InputError

Place = tuple[int, int]  # first byte and length in a `Store`


class Store:
    """Values as bytes of JSON in one buffer: equal ones that are to be shared are kept once.

    Loader workers share the buffer; the same values as Python objects, some hundred MB, would be
    copied into each of them.
    """

    def __init__(self, origin: Path) -> None:
        self.origin = origin
        self._bytes = bytearray()
        self._known: dict[bytes, Place] = {}

    def add(self, value: Any, share: bool = False) -> Place:
        """Keeps a value; returns its place."""
        content = json.dumps(value, separators=(",", ":")).encode()
        if content in self._known:
            return self._known[content]
        place = (len(self._bytes), len(content))
        self._bytes += content
        if share:
            self._known[content] = place
        return place

    def close(self) -> None:
        """Nothing more is added: what only adding needs is dropped."""
        self._known = {}

    def get(self, place: Place) -> Any:
        """The value at a place."""
        start, length = place
        return json.loads(bytes(self._bytes[start : start + length]))


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
        if not all(-size[0] - size[1] <= x <= 2 * (size[0] + size[1]) for x in polygon):
            raise ValueError("a polygon far outside the picture")  # or drawing takes all memory
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return np.ascontiguousarray(coco_mask.decode(rle), dtype=bool)


@dataclass(frozen=True, slots=True)
class ShapeMasks:
    """The mask of one sentence, drawn when asked for (a `MaskReader`).

    tracks: (object, place of a segmentation); size: (H, W).
    """

    store: Store
    tracks: tuple[tuple[str, Place], ...]
    size: tuple[int, int]

    def read(self, objects: Sequence[str], position: int) -> np.ndarray:
        if position != 0:
            raise IndexError(f"frame {position} of a video of 1 frame")
        mask = np.zeros(self.size, dtype=bool)
        for obj, place in self.tracks:
            if obj in objects:
                mask |= self._draw(place)
        return mask

    def visible(self, obj: str) -> np.ndarray:
        return np.array([self.appears(obj)])

    def appears(self, obj: str) -> bool:
        return any(name == obj for name, _ in self.tracks)

    def _draw(self, place: Place) -> np.ndarray:
        try:
            return draw(self.store.get(place), self.size)
        except ValueError as error:
            raise InputError(f"{self.store.origin}: {error}; get the file again") from None


class Sentences(Sequence):
    """The sentences of one picture, as records that are made when asked for."""

    __slots__ = ("_length", "_place", "_store")

    def __init__(self, store: Store, entries: list) -> None:
        """entries: [id, text, height, width, [[object, place of its segmentation], ...]] each."""
        self._store = store
        self._place = store.add(entries)
        self._length = len(entries)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Any:
        return tuple(self)[index]

    def __iter__(self) -> Iterator[ExpressionRecord]:
        for key, text, height, width, tracks in self._store.get(self._place):
            pairs = tuple((obj, tuple(place)) for obj, place in tracks)
            objects = tuple(dict.fromkeys(obj for obj, _ in pairs))
            masks = ShapeMasks(self._store, pairs, (height, width))
            yield ExpressionRecord(key, text, objects, VisibleMoments(masks, objects), masks)


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
    store, tracks = Store(path), {}
    for annotation in annotations:
        try:
            obj = str(annotation.get("original_id", annotation["id"]))
            place = store.add(annotation["segmentation"], share=True)
            tracks.setdefault(annotation["image_id"], []).append((obj, place))
        except (AttributeError, KeyError, TypeError):
            raise InputError(
                f"{path}: an annotation without id, image_id or segmentation; "
                f"convert the data set again"
            ) from None
    store.close()
    by_file: dict[str, list] = {}
    for image in images:
        try:
            key, file, text = str(image["id"]), str(image["file_name"]), str(image["caption"])
            for part in (key, *file.split("/")):  # with a folder in some conversions
                check_name(part, f"{path}: image entry")
            check_text(text, f"{path}: image entry {key}")
            entry = [key, text, int(image["height"]), int(image["width"]), tracks[image["id"]]]
            by_file.setdefault(file, []).append(entry)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: an image entry without id, file_name, height, width, caption or "
                f"annotation ({_shown(image)}); convert the data set again"
            ) from None
    videos = tuple(_video(pictures, file, Sentences(store, by_file[file])) for file in by_file)
    if videos and not videos[0].frames[0].is_file():
        raise InputError(f"{videos[0].frames[0]}: no such picture, get all of COCO train2014")
    return VideoDataset(kind, root, split, videos)


def _video(pictures: Path, file: str, sentences: Sentences) -> VideoRecord:
    path = Path(file)  # in some conversions with a folder
    folder = pictures if path.parent == Path() else pictures / path.parent
    return VideoRecord(str(path.with_suffix("")), Frames(folder, [path.name], ""), sentences)


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
