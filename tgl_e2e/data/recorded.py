"""Training clips of recorded data sets: videos (or single images) with sentences and masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tgl_e2e.data.augment import Augmentation, augment_frame, bounds, crop_box, draw_augmentation
from tgl_e2e.data.base import ExpressionRecord, VideoDataset, VideoRecord
from tgl_e2e.data.clips import Clip, ClipOptions, choose_frames
from tgl_e2e.data.foreign import ForeignExpressions
from tgl_e2e.data.sampling import select_objects
from tgl_e2e.errors import InputError
from tgl_e2e.fit import Fit

LOGGER = logging.getLogger(__name__)


class RecordedClips(Dataset):
    """Clips of one or several data sets; every expression comes ``options.clips_per_expression``
    times per epoch (0: as often as T frames go into its video), in an order of the epoch's own.

    Sample k is the expression at place ``k % n`` of epoch ``k // n``'s order, and a pure function
    of the seed, that epoch and that place, whatever worker makes it. Expressions whose objects have
    no mask in any frame are dropped, as in the paper's A.1; those without target stay.

    Args:
        datasets: the videos of all of them are mixed.
        options: see :class:`ClipOptions`.
        length: samples, over all epochs.
        check: raises InputError for a text that the network cannot take; None: not asked.
        skip_bad: such expressions are left out and counted.

    Raises:
        InputError: no expression can be trained on, or of one it is not known what it means.
    """

    def __init__(
        self,
        datasets: Sequence[VideoDataset],
        options: ClipOptions,
        length: int,
        seed: int,
        check: Callable[[str], object] | None = None,
        skip_bad: bool = False,
    ) -> None:
        self.options = options
        self.length = length
        self.seed = seed
        self._datasets = tuple(datasets)
        # (n, 3) data set, video, expression: one array, that workers share without copying it.
        found = [
            _usable(dataset, options, check, skip_bad, number)
            for number, dataset in enumerate(self._datasets)
        ]
        self._places = np.concatenate([np.empty((0, 3), dtype=np.int32), *found])
        if not len(self._places):
            where = " and ".join(str(dataset.root) for dataset in self._datasets)
            raise InputError(f"{where}: no expression has a mask, is this the whole split?")
        self._foreign = ForeignExpressions(self._datasets) if options.foreign_share > 0 else None
        self._order: tuple[int, np.ndarray] | None = None  # of the epoch asked for last

    @property
    def epoch_length(self) -> int:
        """n, samples per epoch."""
        return len(self._places)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < self.length:
            raise IndexError(f"sample {index} of {self.length}")
        epoch, place = divmod(index, self.epoch_length)
        dataset, video, expression = self._find(epoch, place)
        # [0, ...] draws orders, [1, ...] samples: numpy pads short seeds with zeros.
        rng = np.random.default_rng([1, self.seed, epoch, place])
        if self._foreign is not None and rng.random() < self.options.foreign_share:
            text = self._foreign.draw([one.text for one in video.expressions], rng)
            if text is not None:
                expression = replace(expression, text=text, objects=(), moments={})
        return draw_clip(video, expression, dataset.kind, self.options, rng)

    def _find(self, epoch: int, place: int) -> tuple[VideoDataset, VideoRecord, ExpressionRecord]:
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([0, self.seed, epoch])
            self._order = epoch, rng.permutation(self.epoch_length)
        number, video, expression = self._places[self._order[1][place]]
        dataset = self._datasets[number]
        record = dataset.videos[video]
        return dataset, record, record.expressions[expression]


def draw_clip(
    video: VideoRecord,
    expression: ExpressionRecord,
    kind: str,
    options: ClipOptions,
    rng: np.random.Generator,
) -> Clip:
    """Draws one clip of an expression; reads the chosen frames and the kept objects' masks alone.

    With OSS (``options.selective``) the target is empty where the clip meets no moment, which
    happens without moment sampling and in windows dealt as in inference: nothing in these frames
    does what the text says. Without OSS it is always the union of all objects.

    Args:
        kind: the data set's name.
    """
    relevant = expression.relevant(video.num_frames)
    start, frames = choose_frames(relevant, options, rng)
    kept = select_objects(expression.moments, frames) if options.selective else expression.objects
    remember = bool(rng.random() < options.remember_target)
    change = draw_augmentation(expression.text, options, rng)
    # A video shorter than a clip has frames that come twice: they are read once.
    distinct, where = np.unique(frames, return_inverse=True)
    pictures, target = _read(video, expression, tuple(kept), distinct, change, options.fit)
    return Clip(
        name=f"{kind}:{video.name}:{expression.id} frames {frames.tolist()}",
        frames=pictures[where],
        text=change.text,
        positions=torch.from_numpy(frames - start).long(),
        relevant=torch.from_numpy(relevant[frames]),
        target=target[where],
        remember=remember,
        cue=kind,
    )


def _usable(
    dataset: VideoDataset,
    options: ClipOptions,
    check: Callable[[str], object] | None,
    skip_bad: bool,
    number: int,
) -> np.ndarray:
    """(n, 3) int32: number, video, expression of what can be trained on, each as often as an epoch
    has it."""
    places, dropped, bad, kept = [], 0, 0, 0
    for v, video in enumerate(dataset.videos):
        for e, expression in enumerate(video.expressions):
            known = expression.objects is not None and expression.moments is not None
            if not known or (expression.objects and expression.masks is None):
                raise InputError(
                    f"{dataset.root}: split {dataset.split} does not say what video {video.name}, "
                    f"expression {expression.id} means; train on a split that has masks"
                )
            if expression.objects and not any(map(expression.masks.appears, expression.objects)):
                dropped += 1
                continue
            try:
                if check is not None:
                    check(expression.text)
            except InputError as error:
                if not skip_bad:
                    raise InputError(
                        f"{dataset.root}: video {video.name}, expression {expression.id}: {error}; "
                        "skip_bad_expressions=true leaves such expressions out"
                    ) from None
                bad += 1
                continue
            kept += 1
            times = options.clips_per_expression or -(-video.num_frames // options.num_frames)
            places += [(number, v, e)] * times
    counts = f"{kept} expressions of {len(dataset.videos)} videos; {dropped} more are dropped"
    LOGGER.info("%s %s: %s, their objects have no mask", dataset.kind, dataset.split, counts)
    if bad:
        LOGGER.warning("%s: %d expressions with bad texts are left out", dataset.root, bad)
    return np.array(places, dtype=np.int32).reshape(-1, 3)


def _read(
    video: VideoRecord,
    expression: ExpressionRecord,
    kept: Sequence[str],
    frames: np.ndarray,
    change: Augmentation,
    fit: Fit,
) -> tuple[Tensor, Tensor]:
    """(T, 3, S, S) uint8 frames and (T, S, S) bool union of the kept objects, augmented."""
    pictures = [video.pictures[int(t)] for t in frames]
    masks = []
    for t, picture in zip(frames, pictures, strict=True):
        shape = (picture.height, picture.width)
        mask = expression.masks.read(kept, int(t)) if kept else np.zeros(shape, dtype=bool)
        if mask.shape != shape:
            raise InputError(
                f"{video.frames[t]}: {shape[1]} x {shape[0]} pixels, but its mask has "
                f"{mask.shape[1]} x {mask.shape[0]}; use frames and masks of one release"
            )
        masks.append(mask)
    box = None
    if change.zoom is not None:
        box = crop_box(change.zoom, *pictures[0].size, bounds(np.stack(masks)))
    pairs = zip(pictures, masks, strict=True)
    changed = [augment_frame(picture, mask, fit, box, change) for picture, mask in pairs]
    rgb, target = zip(*changed, strict=True)
    return torch.stack(rgb), torch.stack(target)
