"""A split of RefCOCO, RefCOCO+ or RefCOCOg."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tgl_e2e.data.check.findings import Findings, Kind
from tgl_e2e.data.check.listing import NO_TEXT, check_picture
from tgl_e2e.data.refcoco import annotations_path, draw, read_entries
from tgl_e2e.data.rle import area
from tgl_e2e.errors import InputError

CONVERT = "Convert the data set again."
IMAGE_ENTRY = Kind("image entries without id, file_name, height or width", CONVERT)
ANNOTATION = Kind("annotations without id, image_id or segmentation", CONVERT)
TWICE = Kind("ids of image entries that stand there twice", CONVERT)
NO_ANNOTATION = Kind("sentences without an annotation", CONVERT)
NO_IMAGE = Kind("annotations of unknown image entries", CONVERT)
NO_PICTURE = Kind("pictures that are not there", "Get all of COCO train2014.")
SIZE = Kind(
    "image entries that differ in size from their picture",
    "Use COCO's train2014 as it is, not resized.",
)
MASK = Kind("segmentations that cannot be drawn", CONVERT)
EMPTY = Kind("segmentations without a pixel")


def splits(root: Path, kind: str) -> list[str]:
    """The splits in a folder."""
    start = f"instances_{kind}_"
    found = (root / kind).glob("instances_*.json")  # no pattern of its own: names hold "+"
    return sorted(path.stem[len(start) :] for path in found if path.stem.startswith(start))


def check_split(root: Path, kind: str, split: str, findings: Findings) -> None:
    """Adds what is wrong with a split; InputError if nothing of it can be read."""
    pictures = root / "train2014"
    if not pictures.is_dir():
        raise InputError(f"{pictures}: no such folder, the pictures of COCO train2014 belong there")
    images, annotations = read_entries(annotations_path(root, kind, split))
    sizes = _check_images(images, pictures, split, findings)
    drawn: Counter[Any] = Counter()
    objects = set()
    for annotation in tqdm(annotations, desc=f"{split}, segmentations", unit="mask"):
        try:
            number, image = annotation["id"], annotation["image_id"]
            segmentation = annotation["segmentation"]
            drawn[image] += 1
        except (AttributeError, KeyError, TypeError):
            findings.add(ANNOTATION, str(annotation)[:80])
            continue
        objects.add(annotation.get("original_id", number))
        if image not in sizes:
            findings.add(NO_IMAGE, f"annotation {number} of image entry {image}")
            continue
        findings.masks += 1
        try:
            if _area(segmentation, sizes[image]) == 0:
                findings.add(EMPTY, f"annotation {number}")
        except (ValueError, TypeError) as error:
            findings.add(MASK, f"annotation {number}: {error}")
    for image in sizes:
        if not drawn[image]:
            findings.add(NO_ANNOTATION, f"image entry {image}")
    findings.objects += len(objects)


def _area(segmentation: Any, size: tuple[int, int]) -> int:
    if isinstance(segmentation, dict):
        return area(segmentation, size)  # without pycocotools, which trusts what it is given
    return int(np.count_nonzero(draw(segmentation, size)))


def _check_images(
    images: list[Any], pictures: Path, split: str, findings: Findings
) -> dict[Any, tuple[int, int]]:
    """(H, W) of each image entry, by its id."""
    sizes: dict[Any, tuple[int, int]] = {}
    there: dict[str, tuple[int, int] | None] = {}  # file -> its true size
    for image in tqdm(images, desc=f"{split}, pictures", unit="sentence"):
        try:
            key, file = image["id"], str(image["file_name"])
            size = (int(image["height"]), int(image["width"]))
            twice = key in sizes
        except (KeyError, TypeError, ValueError):
            findings.add(IMAGE_ENTRY, str(image)[:80])
            continue
        if twice:
            findings.add(TWICE, f"image entry {key}")
        sizes[key] = size
        text = image.get("caption")
        if not isinstance(text, str) or not text.strip():
            findings.add(NO_TEXT, f"image entry {key}")
        if file not in there:
            there[file] = None
            if (pictures / file).is_file():
                there[file] = check_picture(pictures / file, findings)
            else:
                findings.add(NO_PICTURE, str(pictures / file))
        true = there[file]
        if true is not None and true != size:
            findings.add(SIZE, f"image entry {key}: {list(size)}, {file} {list(true)}")
    findings.expressions += len(sizes)
    findings.videos += len(there)
    findings.frames += len(there)
    return sizes
