"""SAM2's own video predictor, as the measure of what propagating one object costs."""

from __future__ import annotations

from pathlib import Path

import hydra.utils
import torch
from omegaconf import OmegaConf
from torch import nn

from tgl_e2e.config import VisionConfig
from tgl_e2e.model.build import sam_config

METHODS = {  # its methods, by the stages of our own
    "forward_image": "trunk",
    "_prepare_memory_conditioned_features": "memory attention",
    "_forward_sam_heads": "mask decoder",
    "_encode_new_memory": "memory encoder",
    "init_state": "decode",
}


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


def propagate(
    predictor: nn.Module, folder: Path, box: tuple[int, int, int, int], frames: int | None = None
) -> None:
    """Propagates the object in a box on the first frame through a folder of JPEGs, as SAM2's own
    example does, masks at the video's size included; at most ``frames`` of them."""
    last = None if frames is None else frames - 1
    with torch.inference_mode():
        state = predictor.init_state(str(folder))
        predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=box)
        for _, _, logits in predictor.propagate_in_video(state, max_frame_num_to_track=last):
            (logits > 0).cpu().numpy()
