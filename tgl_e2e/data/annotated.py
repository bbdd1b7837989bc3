"""A split that is annotated in part: as far as it is done, as a split of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

from tgl_e2e.data.annotations import ANNOTATIONS_NAME, FOUND, Annotation, read_annotations
from tgl_e2e.data.faults import Faults, Kind
from tgl_e2e.data.mevis import META_NAMES, find_expressions, read_mevis
from tgl_e2e.data.moments_json import MISSING, MOMENTS_NAME, read_moments, write_moments
from tgl_e2e.errors import InputError
from tgl_e2e.files import read_json, replacing, write_text

META_NAME = META_NAMES[0]
LINKED = ("JPEGImages", "mask_dict.json")
NOT_BEGUN, BEGUN, UNCLEAR = "not annotated", "begun and not done", "that cannot be told"


class Unfinished(Faults):
    """Strict, but for expressions that nobody has annotated yet."""

    def error(self, kind: Kind, path: Path, place: str = "", detail: object = "") -> None:
        if kind is not MISSING:
            super().error(kind, path, place, detail)


def write_subset(root: Path, split: str, output: Path) -> str:
    """Writes the annotated expressions of a split in the layout of MeViS as a split of their own:
    their texts and moments; frames and masks are links to those of the split.

    Args:
        output: folder to write; an earlier subset there is replaced.

    Returns:
        In words how many there are, what was left out, and how to read it.

    Raises:
        InputError: the split cannot be read, nothing of it is annotated, or the folder is something
            else or cannot be written.
    """
    folder = root / split
    meta_path, path = find_expressions(folder), folder / MOMENTS_NAME
    if meta_path.exists() and not path.exists():
        raise InputError(f"{path}: no such file; annotate: python -m tgl_e2e.app --root {root}")
    videos = read_mevis(root, split, faults=Unfinished(), masks=False).videos
    moments, content = read_moments(path), read_json(meta_path, "it lists the expressions")
    said = folder / ANNOTATIONS_NAME
    latest = read_annotations(said) if said.exists() else {}
    kept, listed, left_out = {}, {}, Counter()
    for video in videos:
        entries = moments.get(video.name, {})
        for expression in video.expressions:
            annotations = latest.get((video.name, expression.id), {})
            reason = _reason(annotations, expression.id in entries)
            if reason is not None:
                left_out[reason] += 1
                continue
            kept.setdefault(video.name, {})[expression.id] = entries[expression.id]
        if video.name in kept:
            entry = content["videos"][video.name]
            texts = {k: e for k, e in entry["expressions"].items() if str(k) in kept[video.name]}
            listed[video.name] = {**entry, "expressions": texts}
    count = sum(map(len, kept.values()))
    why = ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items())) or "none"
    if not count:
        raise InputError(f"{path}: no expression is annotated yet ({why})")
    try:
        _write(output, folder, json.dumps({**content, "videos": listed}, ensure_ascii=False), kept)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror})") from None
    return (
        f"{count} of {count + left_out.total()} expressions, in {len(kept)} of {len(videos)} "
        f"videos; left out: {why}. Read them with --root {output.parent} --split {output.name}"
    )


def _reason(annotations: dict[str, Annotation], has_entry: bool) -> str | None:
    """Why an expression is no annotated one; None: it is."""
    states = {a.state for name, a in annotations.items() if name != FOUND}
    if states and "done" not in states:
        return UNCLEAR if "unclear" in states else BEGUN
    return None if has_entry else NOT_BEGUN


def _write(output: Path, folder: Path, meta: str, moments: dict) -> None:
    if os.path.lexists(output) and not _is_subset(output):
        raise InputError(f"{output}: is there, and is no earlier subset; give another --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as new:
        new.mkdir()
        for name in LINKED:
            if (folder / name).exists():
                target = os.path.relpath((folder / name).resolve(), output.parent.resolve() / "_")
                (new / name).symlink_to(target)
        write_text(new / META_NAME, meta + "\n")
        write_moments(new / MOMENTS_NAME, moments)
        if output.is_dir():
            shutil.rmtree(output)  # follows no link


def _is_subset(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir() or not (folder / LINKED[0]).is_symlink():
        return False
    return {path.name for path in folder.iterdir()} <= {*LINKED, META_NAME, MOMENTS_NAME}
