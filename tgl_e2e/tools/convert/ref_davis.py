"""Ref-DAVIS17 as published (DAVIS 2017 and four text files), to Ref-YouTube-VOS's layout."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path

from tqdm import tqdm

from tgl_e2e.errors import InputError
from tgl_e2e.files import check_name, replacing, write_text

# In the order of an object's four expressions: first frame and whole video, of two annotators.
TEXTS = (
    "Davis17_annot1.txt",
    "Davis17_annot1_full_video.txt",
    "Davis17_annot2.txt",
    "Davis17_annot2_full_video.txt",
)
SPLITS = {"train": "train.txt", "valid": "val.txt"}  # ours -> ImageSets/2017


def read_texts(path: Path) -> dict[str, dict[int, str]]:
    """video -> object -> expression, of a file of lines ``<video> <object> "<expression>"``.

    Raises:
        InputError: not there, or a line of another form.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it comes with davis_text_annotations")
    content = path.read_bytes()
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:  # as released
        lines = content.decode("latin-1").splitlines()
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = line.split(maxsplit=2)
        if len(parts) < 3 or not parts[1].isdecimal() or not parts[2].strip(' "'):
            raise InputError(
                f"{path}: line {number} is no '<video> <object> \"<expression>\"'; get it again"
            )
        check_name(parts[0], f"{path}: line {number}")
        found[parts[0]][int(parts[1])] = parts[2].strip().strip('"').strip()
    return found


def convert_ref_davis(davis: Path, texts: Path, output: Path, link: bool = False) -> dict[str, int]:
    """Writes ``output/{train,valid}`` and ``output/meta_expressions``, see
    :mod:`tgl_e2e.data.ytvos`.

    Args:
        davis: DAVIS 2017 (480p) with JPEGImages, Annotations and ImageSets.
        texts: folder of the four text files.
        link: link to DAVIS's pictures instead of copying them.

    Returns:
        split -> number of expressions.

    Raises:
        InputError: something is missing, or the annotations do not have the objects of the texts.
    """
    descriptions = [read_texts(texts / name) for name in TEXTS]
    videos, counts = {}, {}
    for split, listed in SPLITS.items():
        path = davis / "ImageSets" / "2017" / listed
        if not path.is_file():
            raise InputError(f"{path}: no such file; give the folder of DAVIS 2017 (480p)")
        if (output / split).exists():
            raise InputError(f"{output / split}: is there already; give another --output")
        videos[split] = path.read_text().split()
    for split, names in videos.items():
        target = output / "meta_expressions" / split / "meta_expressions.json"
        output.mkdir(parents=True, exist_ok=True)
        with replacing(output / split) as folder:
            names = tqdm(names, desc=split, unit="video")
            meta = {name: _convert(name, davis, descriptions, folder, link) for name in names}
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, json.dumps({"videos": meta}, indent=1))
        counts[split] = sum(len(video["expressions"]) for video in meta.values())
    return counts


def _convert(name: str, davis: Path, descriptions: list, folder: Path, link: bool) -> dict:
    """Writes one video's pictures; returns its entry of meta_expressions.json."""
    check_name(name, str(davis))
    said = [texts.get(name, {}) for texts in descriptions]
    objects = sorted(said[0])
    if not objects or any(sorted(one) != objects for one in said):
        raise InputError(
            f"video {name}: the four text files speak of objects "
            f"{', '.join(str(sorted(one)) for one in said)}; get them again"
        )
    # The release that is commonly converted, where it is there.
    commonly = davis / "Annotations_unsupervised"
    annotations = commonly if commonly.is_dir() else davis / "Annotations"
    frames = _pictures(davis / "JPEGImages" / "480p" / name, ".jpg")
    masks = _pictures(annotations / "480p" / name, ".png")
    if [f.stem for f in frames] != [m.stem for m in masks]:
        raise InputError(f"{masks[0].parent}: not one annotation for each frame; get DAVIS again")
    copy = os.symlink if link else shutil.copyfile
    for kind, pictures in (("JPEGImages", frames), ("Annotations", masks)):
        target = folder / kind / name
        target.mkdir(parents=True)
        for picture in pictures:
            copy(picture.resolve(), target / picture.name)
    every = ((obj, texts[obj]) for obj in objects for texts in said)
    expressions = {str(n): {"exp": text, "obj_id": str(obj)} for n, (obj, text) in enumerate(every)}
    return {"frames": [f.stem for f in frames], "expressions": expressions}


def _pictures(folder: Path, suffix: str) -> list[Path]:
    found = sorted(folder.glob(f"*{suffix}"))
    if not found:
        raise InputError(f"{folder}: no {suffix} in it; give the folder of DAVIS 2017 (480p)")
    return found
