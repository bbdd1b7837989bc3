"""M- propagation against SAM2VideoPredictor: same weights, same video, same memory, at full width.

What differs by design is made equal here: the predictor gives its conditioning frame the temporal
embedding with index 6 and ours goes by rank, so that row is copied; the predictor tracks with three
masks, which is switched off in its configuration.
"""

from contextlib import contextmanager
from functools import lru_cache
from importlib import resources

import hydra.utils
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from networks import difference, set_presence
from omegaconf import OmegaConf
from PIL import Image

from tgl_e2e.model.features import FrameFeatures
from tgl_e2e.model.memory import Memories

PROMPTED = 2  # the frame that gets the true mask


@pytest.fixture(scope="module")
def predictor(hiera):
    """SAM2's video predictor with the weights of the network under test."""
    path = resources.files("sam2") / "configs" / "sam2.1" / "sam2.1_hiera_b+.yaml"
    side = hiera.vision.image_size // 16
    attention = {"feat_sizes": [side, side]}
    config = OmegaConf.merge(
        OmegaConf.load(str(path)).model,
        {
            "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
            "image_size": hiera.vision.image_size,
            "fill_hole_area": 0,
            "multimask_output_in_sam": False,
            "multimask_output_for_tracking": False,
            "memory_attention": {
                "layer": {"self_attention": attention, "cross_attention": attention}
            },
        },
    )
    predictor = hydra.utils.instantiate(config)
    # assign: the same tensors, so that a change of one is a change of both
    predictor.load_state_dict(hiera.vision.sam.state_dict(), assign=True)
    return predictor.eval()


@pytest.fixture(scope="module")
def video(hiera_frames, tmp_path_factory):
    """16 frames on disk (the predictor scales distances of pointers by 15 then), and as decoded."""
    folder = tmp_path_factory.mktemp("video")
    for number, frame in enumerate(hiera_frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{number:05d}.jpg")
    return folder


@pytest.fixture(scope="module")
def state(predictor, video):
    """The predictor's state after a mask prompt and three frames of tracking."""
    mask = torch.zeros(256, 256, dtype=torch.bool)
    mask[60:150, 90:200] = True
    state = predictor.init_state(str(video))
    predictor.add_new_mask(state, PROMPTED, 1, mask)
    state["given_back"] = {
        number: masks
        for number, _, masks in predictor.propagate_in_video(state, max_frame_num_to_track=3)
    }
    return state


def as_memories(outputs: dict) -> Memories:
    """Entries that the predictor wrote, by frame."""
    frames = sorted(outputs)
    return Memories(
        # the predictor keeps memories in bfloat16
        torch.cat(
            [
                rearrange(outputs[t]["maskmem_features"].float(), "1 c h w -> 1 1 (h w) c")
                for t in frames
            ],
            dim=1,
        ),
        torch.stack([outputs[t]["obj_ptr"] for t in frames], dim=1),
        torch.tensor([frames]),
    )


@contextmanager
def temporal_row(sam, ours: int, theirs: int):
    """maskmem_tpos_enc with what the predictor looks up at ``theirs`` where ours looks."""
    rows = sam.maskmem_tpos_enc.data
    before = rows.clone()
    rows[ours] = rows[theirs]
    try:
        yield
    finally:
        rows.copy_(before)


@pytest.fixture(scope="module")
def track(hiera, predictor, video, state):
    """Runs both on frame ``number`` with the memories of the first ``tracked`` tracked frames."""

    @lru_cache
    def features_of(number: int) -> FrameFeatures:
        with Image.open(video / f"{number:05d}.jpg") as image:
            frame = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        return hiera.extract_plain(hiera.encode_prefix(frame))

    def run(number: int, tracked: int):
        written = state["output_dict_per_obj"][0]
        outputs = {
            "cond_frame_outputs": written["cond_frame_outputs"],
            "non_cond_frame_outputs": {
                t: written["non_cond_frame_outputs"][t]
                for t in range(PROMPTED + 1, PROMPTED + 1 + tracked)
            },
        }
        own, _ = predictor._run_single_frame_inference(
            state, outputs, number, 1, False, None, None, False, run_mem_encoder=True
        )

        features, when = features_of(number), torch.tensor([number])
        memories = as_memories(
            {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}
        )
        # the prompted frame is the farthest one
        with temporal_row(hiera.vision.sam, ours=tracked, theirs=6):
            found = hiera.segment(features, when, memories, None)
        return found, own, hiera.vision.write_memory(features, found, when), memories

    return run


@torch.inference_mode()
@pytest.mark.parametrize("tracked", [0, 1, 3], ids=lambda n: f"{n + 1}-memories")
def test_one_frame_equals_the_predictors(track, state, tracked):
    """With one memory, and with more: then order, pointers and their distances count too."""
    number = PROMPTED + tracked + 1
    found, own, entry, memories = track(number, tracked)
    assert memories.frames.shape == (1, tracked + 1)
    assert own["pred_masks"].std() > 0.5
    assert difference(found.gated(), own["pred_masks"][:, 0]) < 1e-4
    assert difference(found.presence, own["object_score_logits"][:, 0]) < 1e-4
    assert difference(found.pointers, own["obj_ptr"]) < 1e-4
    theirs = rearrange(own["maskmem_features"], "1 c h w -> 1 1 (h w) c")  # bfloat16
    torch.testing.assert_close(entry.features, theirs.float(), rtol=2**-7, atol=1e-3)

    if number in state["given_back"]:  # what propagate_in_video gives to its users
        resized = F.interpolate(
            found.gated()[:, None], size=(256, 256), mode="bilinear", align_corners=False
        )
        assert difference(resized, state["given_back"][number]) < 1e-4


@torch.inference_mode()
def test_frames_further_away_see_the_pointer_at_its_distance(track):
    found, own, _, _ = track(PROMPTED + 4, 0)
    assert difference(found.gated(), own["pred_masks"][:, 0]) < 1e-4
    many, _, _, _ = track(PROMPTED + 4, 3)
    assert difference(found.masks, many.masks) > 0.01  # memory counts


@torch.inference_mode()
def test_an_absent_object_is_gated_as_by_the_predictor(hiera, track):
    set_presence(hiera, -5.0)
    try:
        found, own, entry, _ = track(PROMPTED + 4, 0)
    finally:
        set_presence(hiera, 5.0)
    assert (own["pred_masks"] == -1024).all()
    assert torch.equal(found.gated(), own["pred_masks"][:, 0])
    assert difference(found.pointers, own["obj_ptr"]) < 1e-4
    theirs = rearrange(own["maskmem_features"], "1 c h w -> 1 1 (h w) c")  # bfloat16
    torch.testing.assert_close(entry.features, theirs.float(), rtol=2**-7, atol=1e-3)
