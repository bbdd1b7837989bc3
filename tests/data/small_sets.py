"""Small data sets of the true layouts, written with real JPEGs, palette PNGs and RLEs."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH, FRAMES = 12, 20, 4
PALETTE = [0, 0, 0, 236, 95, 103, 249, 145, 87] + [0] * (3 * 253)
NAMES = [f"{5 * i:05d}" for i in range(FRAMES)]  # every fifth frame, as Ref-YouTube-VOS


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def write_frames(folder: Path, names=NAMES, size=(HEIGHT, WIDTH)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((*size, 3), 40 * i, np.uint8)).save(folder / f"{name}.jpg")


def rle(mask: np.ndarray) -> dict | None:
    """COCO RLE with counts as str, as MeViS stores it; null for an empty mask."""
    if not mask.any():
        return None
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def object_ids(frame: int) -> np.ndarray:
    """(H, W) uint8: object 1 in all frames, object 2 in all but the first two."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    ids[2:6, frame : frame + 4] = 1
    if frame >= 2:
        ids[7:10, 10:15] = 2
    return ids


def write_annotations(folder: Path, names=NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        picture = Image.fromarray(object_ids(i), "P")
        picture.putpalette(PALETTE)
        picture.save(folder / f"{name}.png")


def write_palette_videos(root: Path, split: str, videos: dict, masks: bool = True) -> None:
    """The layout of Ref-YouTube-VOS: video -> expressions {id: {"exp", "obj_id"}}."""
    meta = {}
    for video, expressions in videos.items():
        write_frames(root / split / "JPEGImages" / video)
        if masks:
            write_annotations(root / split / "Annotations" / video)
        meta[video] = {"frames": NAMES, "expressions": expressions}
    write_json(root / "meta_expressions" / split / "meta_expressions.json", {"videos": meta})


def write_ytvos(root: Path) -> Path:
    """train with masks, valid (and of its videos one of test) without; returns the root."""
    write_palette_videos(
        root,
        "train",
        {
            "003234408d": {
                "0": {"exp": "a square that slides", "obj_id": "1"},
                "1": {"exp": "a box that appears", "obj_id": "2"},
            },
            "0043f083b5": {"0": {"exp": "a square on the left", "obj_id": "1"}},
        },
    )
    valid = {video: {"0": {"exp": "a square"}} for video in ("0062f687f1", "00f88c4f0a")}
    write_palette_videos(root, "valid", valid, masks=False)
    write_palette_videos(root, "test", {"00f88c4f0a": {"0": {"exp": "a square"}}}, masks=False)
    return root


def write_davis(root: Path) -> Path:
    """valid: one video of two objects, each described four times."""
    texts = ["first 1", "full 1", "first 2", "full 2"]
    expressions = {
        str(4 * o + a): {"exp": f"object {o}, {text}", "obj_id": str(o + 1)}
        for o in range(2)
        for a, text in enumerate(texts)
    }
    write_palette_videos(root, "valid", {"blackswan": expressions})
    return root


POLYGON = [2.0, 2.0, 8.0, 2.0, 8.0, 6.0, 2.0, 6.0]


def write_refcoco(root: Path, kind: str = "refcoco") -> Path:
    """Two pictures, four sentences: two of one object (a polygon), two crowds (lists and str)."""
    (root / "train2014").mkdir(parents=True)
    for name in ("COCO_train2014_000000000001", "COCO_train2014_000000000002"):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(
            root / "train2014" / f"{name}.jpg"
        )
    crowd = rle(object_ids(2) == 2)
    counts = [10 * HEIGHT, HEIGHT, 9 * HEIGHT]  # column 10
    segmentations = [
        ([POLYGON], 501),
        ([POLYGON], 501),
        ({"size": [HEIGHT, WIDTH], "counts": counts}, 502),
        (crowd, 503),
    ]
    images, annotations = [], []
    for n, (segmentation, original) in enumerate(segmentations, start=1):
        picture = 1 if n < 4 else 2
        images.append(
            {
                "file_name": f"COCO_train2014_{picture:012d}.jpg",
                "height": HEIGHT,
                "width": WIDTH,
                "original_id": picture,
                "id": n,
                "caption": f"sentence {n}",
                "dataset_name": kind,
            }
        )
        annotations.append(
            {
                "segmentation": segmentation,
                "area": 24.0,
                "iscrowd": 0,
                "bbox": [2, 2, 6, 4],
                "image_id": n,
                "category_id": 1,
                "id": n,
                "original_id": original,
            }
        )
    for split in ("train", "val"):
        write_json(
            root / kind / f"instances_{kind}_{split}.json",
            {
                "info": "",
                "licenses": "",
                "images": images,
                "annotations": annotations,
                "categories": [],
            },
        )
    return root


def write_mevis(root: Path, split: str = "train", moments: bool = True) -> Path:
    """One video; expressions: one object, two objects, no target."""
    folder = root / split
    write_frames(folder / "JPEGImages" / "clip")
    masks = {str(10 + obj): [rle(object_ids(i) == obj) for i in range(FRAMES)] for obj in (1, 2)}
    expressions = {
        "0": {"exp": "the square that slides", "obj_id": [1], "anno_id": [11]},
        "1": {"exp": "both", "obj_id": [1, 2], "anno_id": [11, 12]},
        "2": {"exp": "the circle", "obj_id": [], "anno_id": []},
    }
    meta = {"videos": {"clip": {"frames": NAMES, "expressions": expressions, "vid_id": 7}}}
    write_json(folder / "meta_expressions.json", meta)
    write_json(folder / "mask_dict.json", masks)
    if moments:
        known = {
            "0": {"objects": {"1": [[1, 3]]}},
            "1": {"objects": {"1": [[0, 1]], "2": [[2, 3]]}},
            "2": {"objects": {}},
        }
        write_json(
            folder / "moments.json", {"version": 1, "videos": {"clip": {"expressions": known}}}
        )
    return root
