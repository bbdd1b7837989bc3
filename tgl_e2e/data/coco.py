"""Photographs with outlined instances, in COCO's format: the source of pictures and of sprites.

<root>/instances_<split>.json or <root>/instances.json
<root>/<split>/<file_name>    or <root>/images/<file_name>
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tgl_e2e.data.rle import draw
from tgl_e2e.errors import InputError
from tgl_e2e.files import check_name, read_json


def opened(path: Path, mode: str = "RGB") -> Image.Image:
    """A picture, read; InputError if it cannot be."""
    try:
        with Image.open(path) as picture:
            return picture.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: no readable image ({error}); get it again") from None


@dataclass(frozen=True)
class Instance:
    """One outlined instance; crowd: several of the class, outlined as one."""

    key: str
    noun: str
    segmentation: Any
    area: float
    crowd: bool


@dataclass(frozen=True)
class CocoImage:
    """An image and its instances, larger ones first."""

    path: Path
    size: tuple[int, int]
    instances: tuple[Instance, ...]

    def open(self) -> Image.Image:
        """RGB."""
        return opened(self.path)

    def ids(self) -> np.ndarray:
        """(H, W) uint8: 0, or 1 + the place of the instance seen there; smaller ones in front."""
        height, width = self.size
        ids = np.zeros((height, width), np.uint8)
        for number, instance in enumerate(self.instances[:254], start=1):
            try:
                ids[draw(instance.segmentation, self.size)] = number
            except ValueError as error:
                raise InputError(
                    f"{self.path}: annotation {instance.key} is {error}; get the file again"
                ) from None
        return ids


@dataclass(frozen=True)
class CocoSet:
    """One split of a folder in COCO's format."""

    images: tuple[CocoImage, ...]

    @cached_property
    def nouns(self) -> tuple[str, ...]:
        """The classes that occur."""
        return tuple(sorted({i.noun for image in self.images for i in image.instances}))


def read_coco(root: str | Path, split: str) -> CocoSet:
    """Reads annotations; images are opened when asked for.

    Raises:
        InputError: a file is missing or not of COCO's format.
    """
    root = Path(root)
    path = root / f"instances_{split}.json"
    if not path.is_file() and (root / "instances.json").is_file():
        path = root / "instances.json"
    content = read_json(path, "it holds the annotations in COCO's format")
    folder = root / split if (root / split).is_dir() else root / "images"
    if not folder.is_dir():
        raise InputError(f"{root}: neither {split}/ nor images/ in it; the images belong there")
    by_image: dict[Any, list[Instance]] = {}
    try:
        nouns = {category["id"]: str(category["name"]) for category in content["categories"]}
        for a in content["annotations"]:
            noun, area, crowd = nouns[a["category_id"]], float(a["area"]), bool(a.get("iscrowd"))
            instance = Instance(str(a["id"]), noun, a["segmentation"], area, crowd)
            by_image.setdefault(a["image_id"], []).append(instance)
        for image in content["images"]:
            for part in str(image["file_name"]).split("/"):
                check_name(part, f"{path}: image")
        images = tuple(
            CocoImage(
                folder / image["file_name"],
                (int(image["height"]), int(image["width"])),
                tuple(sorted(by_image[image["id"]], key=lambda i: -i.area)),
            )
            for image in content["images"]
            if image["id"] in by_image
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not of COCO's format ({type(error).__name__}: {error}); see "
            "https://cocodataset.org/#format-data"
        ) from None
    if not images:
        raise InputError(f"{path}: no image with an annotation in it")
    return CocoSet(images)
