"""Which clips a stage trains on, and which it is validated with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tgl_e2e.data.clips import Clip, ClipOptions
from tgl_e2e.data.coco import read_coco
from tgl_e2e.data.datasets import DATASETS, read_dataset
from tgl_e2e.data.motion import MotionClips, SceneClips
from tgl_e2e.data.pictures import PictureClips
from tgl_e2e.data.recorded import RecordedClips
from tgl_e2e.data.synthetic.sprites import read_sprites
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig

LOGGER = logging.getLogger(__name__)
VALIDATION_SEED = 1000
Check = Callable[[str], object] | None  # raises InputError for a text that is no input
RENDERED = {name for name, info in DATASETS.items() if info.synthetic}  # where no root is given
DRAWN = {"coco", "scenes"}  # as they are asked for, without an end


class MixedClips(Dataset):
    """Several sources by shares; sample ``index`` is a pure function of it and the seed."""

    def __init__(self, sources: list[Dataset], shares: list[float], length: int, seed: int) -> None:
        self.sources = sources
        self.shares = np.array(shares) / sum(shares)
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, 2, index])
        clip = self.sources[rng.choice(len(self.sources), p=self.shares)][index]
        if len(self.sources) > 1:
            clip.labels, clip.nouns = {}, ()  # which not all of the sources know
        return clip


class RepeatedClips(Dataset):
    """The first ``distinct`` clips again and again. Those that were asked for before come without
    their frames and target: what was made of them is kept, by their names, which begin with their
    number (two clips of one picture may be called the same)."""

    def __init__(self, clips: Dataset, distinct: int) -> None:
        self.clips = clips
        self.distinct = distinct
        self.seen: dict[int, Clip] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        index %= self.distinct
        if index in self.seen:
            return self.seen[index]
        clip, nothing = self.clips[index], torch.empty(0)
        clip.name = f"clip {index}, {clip.name}"
        self.seen[index] = replace(clip, frames=nothing, target=nothing)
        return clip


def training_clips(
    config: TrainConfig, options: ClipOptions, check: Check = None
) -> tuple[Dataset, int]:
    """The clips of a whole stage, in order, and its number of steps.

    Args:
        check: raises InputError for a text that the network cannot take; None: not asked.

    Raises:
        InputError: a dataset that is unknown or not there, a text that is bad, or no way to tell
            how many steps.
    """
    endless = _is_rendered(config) or _is_mixture(config)
    if endless and config.steps < 1:
        raise InputError(f"steps is 0, and {config.dataset} has no end: give steps=N")
    length = config.steps * config.batch_size
    clips, steps = _clips(config, config.split, options, length, config.seed, check), config.steps
    if config.dense_weight > 0 and not _is_rendered(config):
        raise InputError(
            "dense_weight needs the labels that only dataset=motion has, rendered on "
            "the fly; set dense_weight=0"
        )
    if not steps:
        steps = max(1, round(config.epochs * clips.epoch_length / config.batch_size))
        clips.length = steps * config.batch_size
    return RepeatedClips(clips, config.distinct) if config.distinct else clips, steps


def validation_clips(
    config: TrainConfig, options: ClipOptions, check: Check = None
) -> Dataset | None:
    """Always the same clips, whatever the training mix: figures of runs can be compared."""
    if not config.valid_split:
        return None
    fills = "fill" in options.cues  # which exist at level full alone
    kept = ["num_frames", "block", "windows", "size", "fill", "static", "cues", "uniform_share"]
    plain = ClipOptions(
        **{name: getattr(options, name) for name in kept},
        full_share=1.0 if fills else 0.35,
        medium_share=0.0 if fills else 0.35,
    )
    split, count = config.valid_split, config.eval_clips
    try:
        return _clips(config, split, plain, count, VALIDATION_SEED, check)
    except InputError as error:
        raise InputError(f"{error} (to validate on; valid_split= leaves validation out)") from None


def _is_rendered(config: TrainConfig) -> bool:
    return config.dataset in RENDERED and not config.root


def _is_mixture(config: TrainConfig) -> bool:
    return bool(config.shares or DRAWN & {*_listed(config.dataset)})


def _clips(
    config: TrainConfig, split: str, options: ClipOptions, length: int, seed: int, check: Check
) -> Dataset:
    if _is_rendered(config):
        return MotionClips(options, length, seed, split)
    if _is_mixture(config):
        return _mixed(config, _listed(split), options, length, seed, check)
    names = _listed(config.dataset)
    if not config.root and set(names) <= set(DATASETS):
        raise InputError(f"dataset={config.dataset} needs root=FOLDER, where it lies")
    roots = (_listed(config.root) or [""]) if len(names) > 1 else [config.root]
    roots = roots * len(names) if len(roots) == 1 else roots
    if len(roots) != len(names):
        raise InputError(
            f"root={config.root}: {len(roots)} folders for {len(names)} data sets; "
            "give one for all, or one each"
        )
    datasets = [read_dataset(n, Path(root), split) for n, root in zip(names, roots, strict=True)]
    return RecordedClips(datasets, options, length, seed, check, config.skip_bad_expressions)


def _mixed(
    config: TrainConfig,
    splits: list[str],
    options: ClipOptions,
    length: int,
    seed: int,
    check: Check,
) -> MixedClips:
    """splits: one for all datasets or one each; where it is empty, a dataset takes no part."""
    options = replace(options, clips_per_expression=1)  # a mixture has no epochs
    names, roots = _listed(config.dataset), _listed(config.root)
    try:
        shares = [float(share) for share in _listed(config.shares)] or [1.0] * len(names)
    except ValueError:
        raise InputError(f"shares={config.shares}: give numbers, joined by commas") from None
    splits = splits * len(names) if len(splits) == 1 else splits
    if not len(names) == len(roots) == len(shares) == len(splits):
        raise InputError(
            f"dataset={config.dataset} root={config.root} shares={config.shares}: give as many "
            "folders and shares as datasets, joined by commas (of scenes and motion too)"
        )
    if not np.isfinite(shares).all() or min(shares) < 0 or sum(shares) <= 0:
        raise InputError(f"shares={config.shares}: give numbers from 0, one above it")
    parts = [p for p in zip(names, roots, splits, shares, strict=True) if p[2] and p[3]]
    if not parts:
        raise InputError(f"dataset={config.dataset}: no split of any is asked for")
    sources: list[Dataset] = []
    for name, root, split, _ in parts:
        if name == "coco":
            sources.append(PictureClips(read_coco(root, split), options, length, seed))
        elif name == "scenes":
            sprites = read_sprites(root.split("+"), split)
            sources.append(SceneClips(sprites, options, length, seed))
        elif name in RENDERED and not root:
            sources.append(MotionClips(options, length, seed, split))
        else:
            recorded = [read_dataset(name, Path(root), split)]
            skip = config.skip_bad_expressions
            sources.append(RecordedClips(recorded, options, length, seed, check, skip))
    return MixedClips(sources, [share for *_, share in parts], length, seed)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []
