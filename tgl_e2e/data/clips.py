"""Training clips: what one is, how its frames are chosen, and how several become a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from tgl_e2e.data.sampling import choose_stretch, sample_evenly, sample_in_stretch
from tgl_e2e.fit import Fit
from tgl_e2e.windows import WINDOWS


@dataclass(frozen=True)
class ClipOptions:
    """What clips are drawn; the field helps of ``train.py --help`` explain the shares. block,
    windows: as the network's; size, fill: of :class:`~tgl_e2e.fit.Fit`."""

    num_frames: int = 8
    block: int = 32
    windows: str = "dealt"
    size: int = 128
    fill: tuple[int, ...] | None = None
    uniform_share: float = 0.0
    moment_sampling: bool = True
    even_spacing: bool = True
    selective: bool = True
    remember_target: float = 0.0
    photometric: float = 0.0
    # Of recorded data sets:
    clips_per_expression: int = 1
    flip: float = 0.0
    scale: float = 0.0
    foreign_share: float = 0.0
    # Of the synthetic set:
    static: bool = False
    full_share: float = 0.0
    medium_share: float = 0.0
    no_target_share: float = 0.0
    appearance_share: float = 0.0
    aspect_share: float = 0.0
    compress_share: float = 0.0
    clutter_share: float = 0.0
    cues: Mapping[str, float] = field(default_factory=lambda: {"mixed": 1.0})

    @property
    def fit(self) -> Fit:
        """How frames come onto the square."""
        return Fit(self.size, self.fill)


@dataclass
class Clip:
    """One training sample.

    name: says which sample this is, so that it can be found again (data set, video, expression,
    frames); frames: (T, 3, S, S) uint8; text; positions: (T,) long frame numbers from the start of
    the stretch; relevant: (T,) bool, M+; target: (T, S, S) bool, the union of the objects kept by
    OSS; remember: memory is to be written from the target, not from what was predicted; labels:
    name -> (T, S/4, S/4) int64, -1 where no object is, and "object" -> bool, {} where the data set
    knows none; nouns: what the numbers of the label "noun" mean; cue: which cue the scene was built
    around, or the data set's name, for reports.
    """

    name: str
    frames: Tensor
    text: str
    positions: Tensor
    relevant: Tensor
    target: Tensor
    remember: bool = False
    labels: dict[str, Tensor] = field(default_factory=dict)
    nouns: tuple[str, ...] = ()
    cue: str = "mixed"


class EndlessClips(Dataset):
    """Clips that are drawn as they are asked for: sample ``index`` is a pure function of it and the
    seed."""

    def __init__(self, options: ClipOptions, length: int, seed: int) -> None:
        self.options = options
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length


@dataclass
class ClipBatch:
    """Clips of one length, stacked: every tensor of :class:`Clip` with B in front; remember: (B,)
    bool; nouns: the same for all, clips of several sets have no labels."""

    names: list[str]
    frames: Tensor
    texts: list[str]
    positions: Tensor
    relevant: Tensor
    target: Tensor
    remember: Tensor
    labels: dict[str, Tensor]
    cues: list[str]
    nouns: tuple[str, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> ClipBatch:
        """The batch with its tensors on ``device``."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """The batch in page-locked memory, from where it reaches a GPU without waiting."""
        return self._changed(Tensor.pin_memory)

    def share_memory(self) -> ClipBatch:
        """The batch in memory that all processes see."""
        return self._changed(Tensor.share_memory_)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> ClipBatch:
        tensors = {name: change(x) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, labels={n: change(x) for n, x in self.labels.items()}, **tensors)


def collate(clips: list[Clip]) -> ClipBatch:
    """The clips as one batch. In a loader's worker it lies in shared memory at once: where that is
    too small, an error comes of it; later, in the queue's thread, it would be lost and the training
    wait for ever."""
    stacked = ("frames", "positions", "relevant", "target")
    batch = ClipBatch(
        names=[c.name for c in clips],
        texts=[c.text for c in clips],
        remember=torch.tensor([c.remember for c in clips]),
        labels={name: torch.stack([c.labels[name] for c in clips]) for name in clips[0].labels},
        cues=[c.cue for c in clips],
        nouns=clips[0].nouns,
        **{name: torch.stack([getattr(c, name) for c in clips]) for name in stacked},
    )
    return batch if get_worker_info() is None else batch.share_memory()


def choose_frames(
    relevant: np.ndarray, options: ClipOptions, rng: np.random.Generator
) -> tuple[int, np.ndarray]:
    """Start of a stretch and the frames of a clip in it.

    In a share of the clips the frames are dealt as in inference, from any stretch, so that the TAM
    meets windows in which little or nothing is relevant; the rest is half from M+: evenly spaced
    (neighbours, where the network's windows are contiguous), or frame by frame.

    Args:
        relevant: (T_V,) bool, True where the frame belongs to M+.

    Returns:
        The stretch's first frame, and (T,) int64 frame positions, ascending; T is
        ``options.num_frames``.
    """
    count, guided = options.num_frames, options.moment_sampling
    neighbours = options.windows == "contiguous"
    if rng.random() >= options.uniform_share:
        if options.even_spacing:
            stretch, frames = sample_evenly(relevant, count, options.block, rng, guided, neighbours)
        else:
            stretch = choose_stretch(relevant, options.block, rng, guided)
            frames = sample_in_stretch(relevant, stretch, count, rng, guided)
        return stretch[0], frames
    start, end = choose_stretch(relevant, options.block, rng, moment_sampling=False)
    windows = WINDOWS[options.windows](end - start, count)
    window = windows[int(rng.integers(len(windows)))]
    if neighbours:  # the last one may be short: clips are not
        window = np.arange(max(0, window[-1] + 1 - count), window[-1] + 1)
    spare = np.setdiff1d(np.arange(end - start), window)
    missing = count - len(window)
    again = len(spare) < missing  # a stretch shorter than a clip has nothing to spare
    more = rng.choice(window if again else spare, missing, replace=again)
    return start, start + np.sort(np.concatenate([window, more]))
