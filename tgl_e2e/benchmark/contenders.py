"""Those that the benchmark lets run: our segmenter, and SAM2's own video predictor, as the measure
of what propagating one object costs."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import hydra.utils
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from tgl_e2e.benchmark import BACKBONES
from tgl_e2e.benchmark.measure import StageClock, count_flops
from tgl_e2e.config import TGLConfig, VisionConfig
from tgl_e2e.data.synthetic import make_scene, render
from tgl_e2e.fit import Fit
from tgl_e2e.inference import collected
from tgl_e2e.inference.block_encoder import Chooser
from tgl_e2e.inference.segmenter import VideoSegmenter
from tgl_e2e.inference.video_pass import Job
from tgl_e2e.model.build import sam_config
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


def generated(length: int) -> VideoSource:
    """A moving synthetic scene; of however many frames, only a few are held."""
    scene = make_scene(3, level="full", num_frames=48)
    frames = render(scene, range(0, 2 * CYCLE, 2), SIDE).rgb
    cycle = [*frames, *frames[-2:0:-1]]
    return open_video([cycle[i % len(cycle)] for i in range(length)])


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


class Contender(ABC):
    """One of the two; `args` are those of the command."""

    args: argparse.Namespace

    @abstractmethod
    def run(self, end: int | None = None) -> Any:
        """Goes through the first `end` frames of the video, or all."""

    @abstractmethod
    def parts(self) -> Iterator[tuple[Any, str, str]]:
        """What takes the time: (object or class, name of its method, stage)."""

    def warm_up(self) -> None:
        self.run(WARM_UP_FRAMES)

    def stages(self) -> dict[str, float]:
        """Seconds per frame by stage, from one more run; 0 for what it does not have."""
        with StageClock(torch.device(self.args.device)) as clock:
            for part in self.parts():
                clock.watch(*part)
            with clock.stage("rest"):
                self.run()
        return {stage: clock.seconds[stage] / self.args.frames for stage in STAGES}


class Ours(Contender):
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
        self, end: int | None = None, source: VideoSource | None = None, texts: int | None = None
    ) -> int:
        """Segments a video; returns its number of frames."""
        source, texts = source or self.source, texts or self.args.texts
        spans = self._spans(source.num_frames if end is None else end)
        self.segmenter.set_to = spans
        moments = parse_moments(spans) if self.args.moments == "given" else "auto"
        return self.segmenter.segment(source, self.texts(texts), moments, end=end)[0].num_frames

    def texts(self, count: int | None = None) -> list[str]:
        return [f"{TEXT} {n}" for n in range(count or self.args.texts)]

    def _spans(self, count: int) -> list[tuple[int, int]]:
        """M+: the first frames of every PERIOD, and at least one."""
        period = min(PERIOD, count)
        length = max(1, round(period * self.args.share / 100))
        return [(start, min(start + length, count) - 1) for start in range(0, count, period)]

    def parts(self) -> Iterator[tuple[Any, str, str]]:
        model, vision = self.model, self.model.vision
        for owner, names, stage in (
            (self.source, ("frames",), "decode"),
            (Fit, ("shrink",), "decode"),
            (vision, ("preprocess", "trunk_prefix", "trunk_stage", "neck"), "trunk"),
            (model.text, ("embed", "layers"), "text"),
            *((adapter, ("forward",), "adapters") for adapter in model.adapters),
            (model.prompt, ("forward",), "adapters"),
            *([(model.tam, ("forward",), "TAM")] if model.tam else []),
            (vision, ("read_memory",), "memory attention"),
            (vision, ("decode",), "mask decoder"),
            (vision, ("write_memory",), "memory encoder"),
            (Fit, ("to_size",), "write-out"),
            (collected, ("encode_mask",), "write-out"),
        ):
            yield from ((owner, name, stage) for name in names)

    def flops_and_bytes_per_frame(self) -> tuple[float, float]:
        """Arithmetic, and weights, which are read once for every window of frames."""
        size = torch.finfo(self.model.compute_dtype).bits // 8
        weights = sum(p.numel() for p in self.model.parameters()) * size
        window = min(self.model.config.window, self.args.frames)
        return count_flops(self.run) / self.args.frames, weights / window


class Official(Contender):
    """SAM2's predictor with the weights of ours; it propagates the object in a box on the first
    frame, as SAM2's own example does, masks at the video's size included."""

    def __init__(self, args: argparse.Namespace, ours: Ours) -> None:
        self.args = args
        self.folder = Path(ours.source.path)
        self.box = (SIDE // 4, SIDE // 4, SIDE // 2, SIDE // 2)
        self.predictor = build_predictor(ours.model.config.vision, ours.model.vision.sam)
        dtype = getattr(torch, args.official_dtype or args.dtype)
        self.autocast = torch.autocast(args.device.split(":")[0], dtype, dtype != torch.float32)

    def run(self, end: int | None = None) -> None:
        last, predictor = None if end is None else end - 1, self.predictor
        with self.autocast, torch.inference_mode():
            state = predictor.init_state(str(self.folder))
            predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=self.box)
            for _, _, logits in predictor.propagate_in_video(state, max_frame_num_to_track=last):
                (logits > 0).cpu().numpy()

    def parts(self) -> Iterator[tuple[Any, str, str]]:
        for name, stage in (
            ("forward_image", "trunk"),
            ("_prepare_memory_conditioned_features", "memory attention"),
            ("_forward_sam_heads", "mask decoder"),
            ("_encode_new_memory", "memory encoder"),
            ("init_state", "decode"),
        ):
            yield self.predictor, name, stage


def build_predictor(config: VisionConfig, weights: nn.Module) -> nn.Module:
    """A SAM2VideoPredictor that shares the tensors of ``weights`` (our SAM2Base).

    As sam2's builder makes it: dynamic multimask, memories of prompted masks made binary. Filling
    of holes is off: it needs a CUDA extension that pip does not build, and is skipped without it.
    """
    changes = {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "fill_hole_area": 0,
        "binarize_mask_from_pts_for_mem_enc": True,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }
    merged = OmegaConf.merge(sam_config(config), changes)
    predictor = hydra.utils.instantiate(merged)
    predictor.load_state_dict(weights.state_dict(), assign=True)
    return predictor.to(next(weights.parameters()).device).eval()
