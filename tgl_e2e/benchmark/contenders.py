"""The two that the benchmark lets run: our segmenter, and SAM2's own video predictor."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from tgl_e2e.benchmark import BACKBONES
from tgl_e2e.benchmark.measure import StageClock, count_flops
from tgl_e2e.benchmark.official import METHODS, build_predictor, propagate
from tgl_e2e.config import TGLConfig
from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.fit import Fit
from tgl_e2e.inference import collected
from tgl_e2e.inference.block_encoder import Chooser
from tgl_e2e.inference.segmenter import VideoSegmenter
from tgl_e2e.inference.video_pass import Job
from tgl_e2e.model.tgl import TGL
from tgl_e2e.moments import parse_moments
from tgl_e2e.video.reader import open_video
from tgl_e2e.video.source import VideoSource

TEXT = "the star that moves to the left"
PERIOD = 32  # M+ are the first frames of every so many
SIDE = 480  # of generated frames
CYCLE = 16  # generated frames that differ: longer videos play them forth and back
WARM_UP_FRAMES = 2
STAGES = ("decode", "trunk", "text", "adapters", "TAM", "memory attention", "mask decoder")
STAGES += ("memory encoder", "write-out", "rest")
SAMWISE = {  # what its networks have that those of a backbone's preset have not
    "adapter.kind": "samwise",
    "prompt.kind": "samwise",
    "windows": "contiguous",
    "vision.fit": "pad",
    "memory.num_pointers": 15,
    "tam.enabled": False,
}


class _Generated(Sequence):
    """A video of any length that holds only a few frames, played forth and back."""

    def __init__(self, frames: np.ndarray, length: int) -> None:
        self._cycle = [*frames, *frames[-2:0:-1]]
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._cycle[index % len(self._cycle)]


def generated(length: int) -> VideoSource:
    """A moving synthetic scene."""
    scene = make_scene(3, level="full", num_frames=48)
    return open_video(_Generated(render(scene, range(0, 2 * CYCLE, 2), SIDE).rgb, length))


def save_frames(args: argparse.Namespace, folder: Path) -> VideoSource:
    """The frames that both read, as JPEGs: SAM2's predictor takes nothing else without decord."""
    source = open_video(args.video) if args.video else generated(args.frames)
    for number, rgb in islice(source.frames(), args.frames):
        Image.fromarray(rgb).save(folder / f"{number:06d}.jpg", quality=95)
    saved = open_video(folder)
    args.frames = saved.num_frames  # of a shorter video
    return saved


def network_config(args: argparse.Namespace, size: int | None = None) -> TGLConfig:
    """The preset of a backbone, with random weights; Hiera-T is Hiera-B+'s with another trunk."""
    preset = args.backbone if args.backbone in ("tiny", "hiera-l") else "hiera-b"
    config, architecture = TGLConfig.from_preset(preset), BACKBONES[args.backbone]
    if args.against != "official":
        config, architecture = config.with_values(**SAMWISE), architecture.replace(".1", "")
    return config.with_values(
        **{
            "vision.architecture": architecture,
            "vision.base": None,
            "text.base": None,
            "vision.image_size": size or args.image_size or config.vision.image_size,
            "memory.pool": args.pool,
        }
    )


class _SetMoments(VideoSegmenter):
    """M+ is what it is set to, whatever the TAM says: it runs all the same where it would."""

    set_to: Any = None

    def _chooser(self, job: Job) -> Chooser:
        return super()._chooser(replace(job, intervals=[self.set_to] * len(job.texts)))


class Ours:
    """Our network of random weights over one video or another."""

    def __init__(self, args: argparse.Namespace, config: TGLConfig, source: VideoSource) -> None:
        torch.manual_seed(0)
        self.args = args
        self.source = source
        self.model = TGL(config, pretrained=False).to(args.device).eval().requires_grad_(False)
        self.model.compute_dtype = getattr(torch, args.dtype)
        # The presence head of random weights would gate all masks, or none.
        head = self.model.vision.sam.sam_mask_decoder.pred_obj_score_head
        torch.nn.init.constant_(head.layers[-1].bias, 5.0)
        self.segmenter = _SetMoments(self.model, tam_stride=args.tam_stride)

    def run(
        self, source: VideoSource | None = None, texts: int | None = None, end: int | None = None
    ) -> int:
        """Segments a video; returns its number of frames."""
        source, texts = source or self.source, texts or self.args.texts
        spans = self._spans(source.num_frames if end is None else end)
        self.segmenter.set_to = spans
        found = self.segmenter.segment(
            source,
            self.texts(texts),
            parse_moments(spans) if self.args.moments == "given" else "auto",
            end=end,
        )
        return found[0].num_frames

    def texts(self, count: int | None = None) -> list[str]:
        return [f"{TEXT} {n}" for n in range(count or self.args.texts)]

    def _spans(self, count: int) -> list[tuple[int, int]]:
        """M+: the first frames of every PERIOD, and at least one."""
        period = min(PERIOD, count)
        length = max(1, round(period * self.args.share / 100))
        return [(start, min(start + length, count) - 1) for start in range(0, count, period)]

    def warm_up(self) -> None:
        self.run(end=WARM_UP_FRAMES)

    def stages(self, source: VideoSource) -> dict[str, float]:
        """Seconds per frame by stage, from one more run."""
        vision, device = self.model.vision, torch.device(self.args.device)
        with StageClock(device) as clock:
            for owner, names, stage in (
                (Fit, ("shrink",), "decode"),
                (vision, ("preprocess", "trunk_prefix", "trunk_stage", "neck"), "trunk"),
                (self.model.text, ("embed", "layers"), "text"),
                *((adapter, ("forward",), "adapters") for adapter in self.model.adapters),
                (self.model.prompt, ("forward",), "adapters"),
                *([(self.model.tam, ("forward",), "TAM")] if self.model.tam else []),
                (vision, ("read_memory",), "memory attention"),
                (vision, ("decode",), "mask decoder"),
                (vision, ("write_memory",), "memory encoder"),
                (Fit, ("to_size",), "write-out"),
                (collected, ("encode_mask",), "write-out"),
            ):
                for name in names:
                    clock.watch(owner, name, stage)
            frames = source.frames

            def timed(*arguments):
                reader = frames(*arguments)
                while True:
                    with clock.stage("decode"):
                        item = next(reader, None)
                    if item is None:
                        return
                    yield item

            with mock.patch.object(source, "frames", timed), clock.stage("rest"):
                self.run(source)
        return {stage: clock.seconds[stage] / self.args.frames for stage in STAGES}

    def flops_and_bytes_per_frame(self) -> tuple[float, float]:
        """Arithmetic, and weights, which are read once for every window of frames."""
        size = torch.finfo(self.model.compute_dtype).bits // 8
        weights = sum(p.numel() for p in self.model.parameters()) * size
        window = min(self.model.config.window, self.args.frames)
        return count_flops(self.run) / self.args.frames, weights / window


class Official:
    """SAM2's predictor with the weights of ours."""

    def __init__(self, args: argparse.Namespace, ours: Ours) -> None:
        self.args = args
        self.folder = Path(ours.source.path)
        self.box = (SIDE // 4, SIDE // 4, SIDE // 2, SIDE // 2)
        self.predictor = build_predictor(ours.model.config.vision, ours.model.vision.sam)
        dtype = getattr(torch, args.official_dtype or args.dtype)
        self.autocast = torch.autocast(args.device.split(":")[0], dtype, dtype != torch.float32)

    def run(self, frames: int | None = None) -> None:
        with self.autocast:
            propagate(self.predictor, self.folder, self.box, frames)

    def warm_up(self) -> None:
        self.run(WARM_UP_FRAMES)

    def stages(self) -> dict[str, float]:
        """Seconds per frame by stage, from one more run."""
        with StageClock(torch.device(self.args.device)) as clock:
            for name, stage in METHODS.items():
                clock.watch(self.predictor, name, stage)
            with clock.stage("rest"):
                self.run()
        return {stage: seconds / self.args.frames for stage, seconds in clock.seconds.items()}
