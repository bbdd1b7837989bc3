"""A folder in COCO's format, small enough for a test."""

import json

from PIL import Image, ImageDraw

SIZE = (120, 160)  # H, W
NOUNS = {1: "cat", 2: "dog", 3: "car"}
# image -> (class, box, colour) of each instance
IMAGES = {
    "a.jpg": [
        (1, (10, 20, 50, 60), "red"),
        (1, (100, 20, 150, 80), "black"),
        (2, (60, 90, 95, 115), "blue"),
    ],
    "b.jpg": [(2, (20, 20, 120, 100), "yellow")],
}


def write_coco(root, split: str = "train") -> None:
    """A folder in COCO's format; boxes are drawn as polygons, one as RLE counts."""
    (root / split).mkdir(parents=True)
    images, annotations = [], []
    for number, (name, instances) in enumerate(IMAGES.items()):
        image = Image.new("RGB", SIZE[::-1], (120, 125, 118))
        for category, box, colour in instances:
            ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), colour)
            x0, y0, x1, y1 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                    "area": (x1 - x0) * (y1 - y0),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
        image.save(root / split / name, quality=95)
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in NOUNS.items()],
    }
    (root / f"instances_{split}.json").write_text(json.dumps(content))
