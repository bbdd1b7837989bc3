"""Data sets by name: the only place that maps a name on the command line to a reader."""

from __future__ import annotations

from pathlib import Path

from tgl_e2e.data.base import VideoDataset
from tgl_e2e.data.coco_dataset import read_coco_expressions
from tgl_e2e.data.davis import read_davis
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.refcoco import read_refcoco
from tgl_e2e.data.ytvos import read_ytvos
from tgl_e2e.errors import InputError

IMAGE_SETS = ("refcoco", "refcoco+", "refcocog", "coco")
DATASETS = ("motion", "mevis", "ref-youtube-vos", "ref-davis", *IMAGE_SETS)


def read_dataset(kind: str, root: str | Path, split: str) -> VideoDataset:
    """Reads one split of a data set; frames and masks are read when asked for.

    Args:
        kind: one of ``DATASETS``.
        root: the folder as the reader of that data set describes it.
        split: as the data set names it, e.g. ``train``.

    Raises:
        InputError: an unknown name; or a folder or file is missing or not of its layout.
    """
    match kind:
        case "motion" | "mevis":  # `motion` is written in the layout of MeViS
            return read_mevis(root, split, kind)
        case "ref-youtube-vos":
            return read_ytvos(root, split)
        case "ref-davis":
            return read_davis(root, split)
        case "refcoco" | "refcoco+" | "refcocog":
            return read_refcoco(root, split, kind)
        case "coco":
            return read_coco_expressions(root, split)
    raise InputError(f"no data set is called '{kind}', give one of {', '.join(DATASETS)}")
