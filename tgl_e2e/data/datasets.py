"""Data sets by name, and what is particular to each: a new one is a reader and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tgl_e2e.data import mevis, refcoco, ytvos
from tgl_e2e.data.base import VideoDataset, VideoRecord
from tgl_e2e.data.faults import Findings
from tgl_e2e.data.pictures import read_coco_expressions
from tgl_e2e.errors import InputError


@dataclass(frozen=True)
class DatasetInfo:
    """A data set.

    name: on the command line.
    read: (root, split, name, faults) -> VideoDataset; those of videos take moments=PATH (to be read
        in place of the split's own) and masks=False too.
    examine: (video, (H, W) or None, findings): opens all masks of a video and reports their faults.
    listed: where the expressions of a split are, below the root.
    frames: the folder that holds the frames of a split, below the root.
    images: whether it has single images, which show what their sentence says.
    split: that papers evaluate on without a server; Ref-YouTube-VOS has none.
    synthetic: whether it is drawn by this program.
    annotations: how often each object is described; where more than once, masks are evaluated and
        written as a label map of all objects per annotation.
    masks: where a mask lies below the folder of masks, as the server takes it.
    """

    name: str
    read: Callable[..., VideoDataset]
    examine: Callable[[VideoRecord, tuple[int, int] | None, Findings], None]
    listed: str
    frames: str
    images: bool = False
    split: str = "valid_u"
    synthetic: bool = False
    annotations: int = 1
    masks: str = "{video}/{expression}/{frame}.png"

    @property
    def moments(self) -> str:
        """Where relevant frames come from, unless `--moments` says otherwise."""
        return "all" if self.images else "auto"

    @property
    def label_maps(self) -> bool:
        """Whether masks are label maps of all objects."""
        return self.annotations > 1

    def has(self, root: Path, split: str) -> bool:
        """Whether the expressions of a split are in a folder."""
        return any(root.glob(self.listed.format(split=split)))

    def splits(self, root: Path) -> list[str]:
        """The splits of which anything is in a folder."""
        found = set()
        for pattern in (self.listed, self.frames):
            before, marked, after = pattern.partition("{split}")
            for path in root.glob(f"{before}*{after}") if marked else ():
                rest = path.relative_to(root).as_posix().removeprefix(before)
                found.add(rest.split("/")[0].removesuffix(".json"))
        return sorted(found)


def _mevis(name: str, **others) -> DatasetInfo:
    listed, frames = "{split}/meta_expressions*.json", "{split}/JPEGImages"
    return DatasetInfo(name, mevis.read_mevis, mevis.examine, listed, frames, **others)


def _ytvos(name: str, read: Callable[..., VideoDataset], **others) -> DatasetInfo:
    listed, frames = "meta_expressions/{split}/meta_expressions.json", "{split}/JPEGImages"
    return DatasetInfo(name, read, ytvos.examine, listed, frames, split="valid", **others)


def _refcoco(name: str) -> DatasetInfo:
    listed = f"{name}/instances_{name}_{{split}}.json"
    read, examine = refcoco.read_refcoco, refcoco.examine
    return DatasetInfo(name, read, examine, listed, "train2014", images=True, split="val")


DATASETS = {
    info.name: info
    for info in (
        _mevis("motion", synthetic=True),
        _mevis("mevis"),
        _ytvos(
            "ref-youtube-vos",
            ytvos.read_ytvos,
            masks="Annotations/{video}/{expression}/{frame}.png",
        ),
        _ytvos(
            "ref-davis",
            ytvos.read_davis,
            annotations=ytvos.ANNOTATIONS,
            masks="anno_{annotation}/{video}/{frame}.png",
        ),
        *map(_refcoco, ("refcoco", "refcoco+", "refcocog")),
        DatasetInfo(
            "coco",
            read_coco_expressions,
            lambda video, size, findings: None,  # reading has drawn all that it has
            "instances_{split}.json",
            "",
            images=True,
            split="val",
        ),
    )
}
VIDEO_SETS = tuple(name for name, info in DATASETS.items() if not info.images)


def read_dataset(kind: str, root: str | Path, split: str) -> VideoDataset:
    """Reads one split of a data set; frames and masks are read when asked for.

    Args:
        kind: one of ``DATASETS``.
        root: the folder as the reader of that data set describes it.
        split: as the data set names it, e.g. ``train``.

    Raises:
        InputError: an unknown name; or a folder or file is missing or not of its layout, or the
            first or last frame of a video is not there.
    """
    info = DATASETS.get(kind)
    if info is None:
        raise InputError(f"no data set is called '{kind}', give one of {', '.join(DATASETS)}")
    frames = Path(root) / info.frames.format(split=split)
    # Where all of a split lies in one folder, that may be what is missing.
    own = Path(root) / split if info.listed.startswith("{split}/") else frames
    missing = [folder for folder in (own, frames) if not folder.is_dir()]
    if missing:
        raise InputError(
            f"{missing[0]}: no such folder, the frames belong there; give the root of the data "
            "set, and its split"
        )
    dataset = info.read(root, split, kind)
    for video in dataset.videos[: 1 if info.images else None]:
        for frame in {video.frames[0]: None, video.frames[-1]: None}:
            if not frame.is_file():
                raise InputError(f"{frame}: no such frame, though it is listed; get all of them")
    return dataset
