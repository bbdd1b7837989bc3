"""Training clips of the synthetic set `motion`, rendered as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tgl_e2e.data.sampling import choose_stretch, sample_in_stretch, select_objects
from tgl_e2e.data.synthetic import (
    COLOURS,
    FILLS,
    MOTIONS,
    SHAPES,
    SIZES,
    Expression,
    Scene,
    make_scene,
    render,
)
from tgl_e2e.windows import deal_windows

# Per-pixel labels: what the generator knows of each object. "motion" counts in clips only.
ATTRIBUTES = {
    "shape": len(SHAPES), "colour": len(COLOURS), "fill": len(FILLS), "size": len(SIZES),
    "motion": len(MOTIONS),
}
LABEL_STRIDE = 4  # labels are as fine as the mask decoder's output


@dataclass
class Clip:
    """One training sample.

    frames: (T, 3, S, S) uint8; text; positions: (T,) long frame numbers from the start of the
    stretch; relevant: (T,) bool, M+; target: (T, S, S) bool, the union of the objects kept by OSS;
    labels: name -> (T, S/4, S/4) int64, -1 where no object is, and "object" -> bool; cue: which cue
    the scene was built around ("mixed" for none), for reports.
    """

    frames: Tensor
    text: str
    positions: Tensor
    relevant: Tensor
    target: Tensor
    labels: dict[str, Tensor]
    cue: str


@dataclass
class ClipBatch:
    """Clips of one length, stacked: every tensor of :class:`Clip` with B in front."""

    frames: Tensor
    texts: list[str]
    positions: Tensor
    relevant: Tensor
    target: Tensor
    labels: dict[str, Tensor]
    cues: list[str]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The batch with its tensors on ``device``."""

        def move(value: Tensor) -> Tensor:
            return value.to(device, non_blocking=non_blocking)

        return ClipBatch(
            move(self.frames), self.texts, move(self.positions), move(self.relevant),
            move(self.target), {name: move(value) for name, value in self.labels.items()},
            self.cues,
        )


def collate(clips: list[Clip]) -> ClipBatch:
    return ClipBatch(
        frames=torch.stack([c.frames for c in clips]),
        texts=[c.text for c in clips],
        positions=torch.stack([c.positions for c in clips]),
        relevant=torch.stack([c.relevant for c in clips]),
        target=torch.stack([c.target for c in clips]),
        labels={name: torch.stack([c.labels[name] for c in clips]) for name in clips[0].labels},
        cues=[c.cue for c in clips],
    )


@dataclass(frozen=True)
class ClipOptions:
    """What clips are drawn, see the field helps of ``train.py --help``."""

    num_frames: int = 8
    block: int = 32
    size: int = 128
    static: bool = False
    full_share: float = 0.0
    uniform_share: float = 0.0
    moment_sampling: bool = True
    selective: bool = True
    cues: Mapping[str, float] = field(default_factory=lambda: {"mixed": 1.0})


class MotionClips(Dataset):
    """An endless set: sample ``index`` of ``epoch`` is a pure function of both and the seed.

    Args:
        options: see :class:`ClipOptions`.
        length: samples per epoch.
        split: ``train`` or ``valid_u``.
    """

    def __init__(self, options: ClipOptions, length: int, seed: int, split: str = "train") -> None:
        self.options = options
        self.length = length
        self.seed = seed
        self.split = split
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        options = self.options
        level = "full" if rng.random() < options.full_share else "easy"
        cue = str(rng.choice(list(options.cues), p=_shares(options.cues)))
        scene = make_scene(
            int(rng.integers(2**31)), level=level, split=self.split,
            cue=None if cue == "mixed" else cue,
            static=options.static or cue in ("colour", "shape", "size", "place", "fill"),
        )
        # The first expression is the one that the cue decides; the others are there for variety.
        choice = 0 if rng.random() < 0.6 else int(rng.integers(len(scene.expressions)))
        expression = scene.expressions[choice]
        relevant = scene.relevant(expression)
        start, frames = self._choose_frames(relevant, rng)
        clip = draw_clip(scene, expression, frames, start, options)
        clip.cue = cue
        return clip

    def _choose_frames(
        self, relevant: np.ndarray, rng: np.random.Generator
    ) -> tuple[int, np.ndarray]:
        """Start of the stretch and the frames of the clip.

        In a share of the clips the frames are dealt as in inference, from any stretch, so that the
        TAM meets windows in which little or nothing is relevant; the rest is sampled as the paper
        says, half from M+.
        """
        options = self.options
        if rng.random() >= options.uniform_share:
            stretch = choose_stretch(relevant, options.block, rng, options.moment_sampling)
            return stretch[0], sample_in_stretch(
                relevant, stretch, options.num_frames, rng, options.moment_sampling)
        start, end = choose_stretch(relevant, options.block, rng, moment_sampling=False)
        windows = deal_windows(end - start, options.num_frames)
        window = windows[int(rng.integers(len(windows)))]
        spare = np.setdiff1d(np.arange(end - start), window)
        missing = min(options.num_frames - len(window), len(spare))
        filled = np.sort(np.concatenate([window, rng.choice(spare, missing, replace=False)]))
        return start, start + filled


def draw_clip(
    scene: Scene, expression: Expression, frames: np.ndarray, start: int, options: ClipOptions
) -> Clip:
    """Renders frames of a scene and the target of one expression in them."""
    rendered = render(scene, frames.tolist(), options.size)
    relevant = scene.relevant(expression)
    kept = list(expression.objects)
    if options.selective:
        kept = select_objects(expression.moments, frames)
    ids = rendered.ids  # (T, S, S), object index + 1
    return Clip(
        frames=torch.from_numpy(rendered.rgb).permute(0, 3, 1, 2).contiguous(),
        text=expression.text,
        positions=torch.from_numpy(frames - start).long(),
        relevant=torch.from_numpy(relevant[frames]),
        target=torch.from_numpy(np.isin(ids, [i + 1 for i in kept])),
        labels=_labels(scene, ids, frames),
        cue="mixed",
    )


def _labels(scene: Scene, ids: np.ndarray, frames: np.ndarray) -> dict[str, Tensor]:
    half = LABEL_STRIDE // 2
    coarse = ids[:, half::LABEL_STRIDE, half::LABEL_STRIDE].astype(np.int64)  # (T, S/4, S/4)
    names = {
        "shape": [SHAPES.index(o.shape) for o in scene.objects],
        "colour": [COLOURS.index(o.colour) for o in scene.objects],
        "fill": [FILLS.index(o.fill) for o in scene.objects],
        "size": [SIZES.index(o.size) for o in scene.objects],
    }
    labels = {"object": torch.from_numpy(coarse > 0)}
    for name, values in names.items():
        labels[name] = torch.from_numpy(np.array([-1, *values], dtype=np.int64)[coarse])
    motions = np.stack([o.motions()[frames] for o in scene.objects], axis=1)  # (T, objects)
    motions = np.concatenate([np.full((len(frames), 1), -1), motions], axis=1)
    rows = np.arange(len(frames))[:, None, None]
    labels["motion"] = torch.from_numpy(motions[rows, coarse].astype(np.int64))
    return labels


def _shares(cues: Mapping[str, float]) -> np.ndarray:
    values = np.array(list(cues.values()), dtype=float)
    return values / values.sum()
