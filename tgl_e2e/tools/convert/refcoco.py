"""RefCOCO, RefCOCO+ and RefCOCOg as published (refs(*).p and instances.json), to COCO's JSON.

A pickle runs what it says when it is read. These files hold plain lists, dicts, strings and numbers
alone: the unpickler here knows nothing else, and refuses a file that names any class or function.
"""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

from tgl_e2e.errors import InputError
from tgl_e2e.files import read_json, write_text

# Which annotators' split is the one that papers report; refcocog's google split has no test.
SPLITS_BY = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}


class PlainUnpickler(pickle.Unpickler):
    """Unpickles values that need no class; anything else is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_refs(path: Path) -> list[dict[str, Any]]:
    """The references of refs(*).p.

    Raises:
        InputError: not there, damaged, or anything else than plain values.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; it comes with the data set (github lichengunc/refer)"
        )
    try:
        with path.open("rb") as file:  # written by Python 2, whose strings are bytes
            refs = PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(
            f"{path}: not the file of references that it should be "
            f"({' '.join(str(error).split()) or type(error).__name__}); get it again"
        ) from None
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise InputError(f"{path}: holds no list of references; get it again")
    return refs


def convert_refcoco(source: Path, output: Path, kind: str, by: str | None = None) -> dict[str, int]:
    """Writes ``output/<kind>/instances_<kind>_<split>.json`` for every split.

    Args:
        source: folder of refs(<by>).p and instances.json.
        kind: refcoco, refcoco+ or refcocog.
        by: whose split; by default unc, of refcocog umd.

    Returns:
        split -> number of sentences.

    Raises:
        InputError: a file is missing or not of the published format.
    """
    path = source / f"refs({by or SPLITS_BY[kind]}).p"
    refs = read_refs(path)
    content = read_json(source / "instances.json", "it holds the outlines, in COCO's format")
    try:
        images = {image["id"]: image for image in content["images"]}
        outlines = {outline["id"]: outline for outline in content["annotations"]}
    except (KeyError, TypeError):
        raise InputError(
            f"{source / 'instances.json'}: not of COCO's format; get it again"
        ) from None
    found: dict[str, tuple[list, list]] = defaultdict(lambda: ([], []))
    for place, ref in enumerate(refs):
        try:
            image, outline = images[ref["image_id"]], outlines[ref["ann_id"]]
            sentences = [(sentence["sent_id"], sentence["sent"]) for sentence in ref["sentences"]]
            entries, annotations = found[str(ref["split"])]
            shown = {key: image[key] for key in ("file_name", "height", "width")}
            shown |= {"original_id": image["id"], "dataset_name": kind}
            outlined = {key: outline.get(key) for key in ("area", "bbox", "category_id")}
            outlined |= {"segmentation": outline["segmentation"], "original_id": outline["id"]}
            outlined["iscrowd"] = outline.get("iscrowd", 0)
            for number, text in sentences:
                entries.append({"id": number, "caption": str(text), **shown})
                annotations.append({"id": number, "image_id": number, **outlined})
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}: reference {place} has no {error}, or instances.json does not; "
                "take both from one release"
            ) from None
    if not found:
        raise InputError(f"{path}: no reference in it; get it again")
    folder = output / kind
    targets = {split: folder / f"instances_{kind}_{split}.json" for split in sorted(found)}
    for target in targets.values():
        if target.exists():
            raise InputError(f"{target}: is there already; remove it or give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    for split, target in targets.items():
        images, annotations = found[split]
        kinds = {"images": images, "annotations": annotations}
        write_text(target, json.dumps({**kinds, "categories": content.get("categories", [])}))
    return {split: len(found[split][0]) for split in targets}
