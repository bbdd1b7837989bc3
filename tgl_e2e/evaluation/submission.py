"""Masks as PNG in the layout that a data set's server takes, the zip of them, and its check.

mevis, motion     <video>/<expression>/<frame>.png               mode L, 0 and 255
ref-youtube-vos   Annotations/<video>/<expression>/<frame>.png   mode L, 0 and 255
ref-davis         anno_<0 to 3>/<video>/<frame>.png              mode P, number of the object
refcoco/+/g       <image>/<expression>/<frame>.png               mode L; there is no server
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from tgl_e2e.data.base import VideoDataset, VideoRecord
from tgl_e2e.data.datasets import DATASETS
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.davis import annotation_groups
from tgl_e2e.files import check_name, replacing
from tgl_e2e.results import Segmentation


def mask_file(dataset: str, video: VideoRecord, index: int, position: int) -> PurePosixPath:
    """Where a mask lies below the folder of masks.

    Args:
        index: place of the expression in `video.expressions`.
        position: of the frame in the video.
    """
    info, expression = DATASETS[dataset], video.expressions[index].id
    check_name(expression, f"video {video.name}: expression")
    annotation, frame = index % info.annotations, video.frames[position].stem
    return PurePosixPath(
        info.masks.format(
            video=video.name, expression=expression, annotation=annotation, frame=frame
        )
    )


def save_masks(
    folder: Path, dataset: str, video: VideoRecord, results: Sequence[Segmentation]
) -> None:
    """Writes all masks of one video: one file per expression and frame, or per label map."""
    davis = DATASETS[dataset].label_maps
    for group in _groups(dataset, video):
        for t, position in enumerate(results[group[0]].frames):
            values = np.zeros(results[group[0]].size, dtype=np.uint8)
            for number, n in enumerate(group, start=1):
                values[results[n].mask(t)] = number if davis else 255
            picture = Image.fromarray(values)
            if davis:
                picture.putpalette(_palette())
            path = folder / mask_file(dataset, video, group[0], int(position))
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)


def read_mask(
    folder: Path, dataset: str, video: VideoRecord, index: int, position: int
) -> np.ndarray:
    """(H, W) bool: a mask that `save_masks` wrote; InputError if it is not there."""
    path = folder / mask_file(dataset, video, index, position)
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, SyntaxError):
        raise InputError(f"{path}: no readable mask; evaluate without --no-masks") from None
    if DATASETS[dataset].label_maps:
        return values == 1 + index // len(annotation_groups(video))
    return values > 127


def write_submission(path: Path, masks: Path, dataset: str, videos: Sequence[VideoRecord]) -> None:
    """Packs the masks that `save_masks` wrote into a zip and checks it; it appears whole or not.

    Raises:
        InputError: the zip cannot be written, or the check fails.
    """
    if DATASETS[dataset].images:
        raise InputError(f"--submission: no server takes masks of {dataset}; leave it out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:  # PNG is packed
                for name, _ in _expected(dataset, videos):
                    file.write(masks / name, name)
            check_submission(temporary, dataset, videos)
    except OSError as error:
        reason = f"{error.filename or path}: {error.strerror}"
        raise InputError(f"--submission {path}: cannot be written ({reason})") from None


def check_submission(
    path: str | os.PathLike, dataset: str | VideoDataset, videos: Sequence[VideoRecord] = ()
) -> int:
    """Opens a zip and holds it against what the server expects: every file, none besides, the mode,
    the size of the frame, and no values but those of the mode.

    Args:
        dataset: a data set, or its name, then with its `videos`.

    Returns:
        How many masks there are.

    Raises:
        InputError: names the first thing that is wrong.
    """
    if isinstance(dataset, VideoDataset):
        dataset, videos = dataset.kind, dataset.videos
    try:
        file = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a readable zip file; write it again") from None
    with file:
        present = {name for name in file.namelist() if not name.endswith("/")}
        expected = dict(_expected(dataset, videos))
        missing, odd = sorted(set(expected) - present), sorted(present - set(expected))
        if missing:
            raise InputError(
                f"{path}: {len(missing)} masks are missing, first {missing[0]}; "
                f"evaluate the whole split again"
            )
        if odd:
            raise InputError(
                f"{path}: {len(odd)} files do not belong there, first {odd[0]}; remove them"
            )
        for name, (size, highest) in expected.items():
            _check_mask(f"{path}: {name}", file.read(name), size, highest)
    return len(expected)


def _expected(
    dataset: str, videos: Sequence[VideoRecord]
) -> Iterator[tuple[str, tuple[tuple[int, int], int | None]]]:
    """Name of each mask -> its (H, W) and the highest label; None: a mask of 0 and 255."""
    for video in videos:
        size = video.size()
        for group in _groups(dataset, video):
            highest = len(group) if DATASETS[dataset].label_maps else None
            for position in range(video.num_frames):
                yield str(mask_file(dataset, video, group[0], position)), (size, highest)


def _groups(dataset: str, video: VideoRecord) -> list[list[int]]:
    """Places of the expressions whose masks share files: one annotation's, or each alone."""
    if DATASETS[dataset].label_maps:
        return annotation_groups(video)
    return [[n] for n in range(len(video.expressions))]


def _check_mask(where: str, data: bytes, size: tuple[int, int], highest: int | None) -> None:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            form, mode, values = picture.format, picture.mode, np.asarray(picture)
    except (OSError, SyntaxError):
        raise InputError(f"{where}: not a readable picture; write it again") from None
    wanted = "L" if highest is None else "P"
    if form != "PNG" or mode != wanted:
        raise InputError(f"{where}: {form} of mode {mode}, it must be PNG of mode {wanted}")
    if values.shape != size:
        raise InputError(
            f"{where}: {values.shape[0]} x {values.shape[1]} pixels, its frame has "
            f"{size[0]} x {size[1]}"
        )
    right = values <= highest if highest is not None else (values == 0) | (values == 255)
    if not right.all():
        raise InputError(f"{where}: holds the value {values[~right][0]}, which means nothing there")


def _palette() -> list[int]:
    """The colours of DAVIS: the bits of a label, spread over red, green and blue."""
    labels, channels = np.arange(256)[:, None], np.arange(3)
    bits = [(labels >> 3 * i + channels & 1) << 7 - i for i in range(3)]
    return sum(bits).ravel().tolist()
