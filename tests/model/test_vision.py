"""Our steps against SAM2's own, from the same weights and real frames, at full width."""

import pytest
import torch
import torch.nn.functional as F
from networks import difference, drawn_up_projections, set_presence

from tgl_e2e.config import VisionConfig
from tgl_e2e.errors import InputError
from tgl_e2e.model.bases import load_sam_weights
from tgl_e2e.model.build import build_sam
from tgl_e2e.model.features import FrameFeatures, MaskPrediction
from tgl_e2e.model.vision import Vision

TEXT = "the dog that jumps over the fence"


@pytest.fixture(scope="module")
def encoded(hiera, hiera_frames):
    """Two frames: SAM2's own features, F_SAM, and F_Adp of untrained adapters."""
    frames = hiera_frames[:2]
    with torch.no_grad():
        own = hiera.vision.sam.forward_image(hiera.vision.preprocess(frames))["backbone_fpn"]
        prefix = hiera.encode_prefix(frames)
        plain = hiera.extract_plain(prefix)
        tokens = hiera.text.tokenize([TEXT])
        adapted = hiera.extract_adapted(prefix, tokens, torch.tensor([[0.0, 0.1]]))
        with drawn_up_projections(hiera):
            trained = hiera.extract_adapted(prefix, tokens, torch.tensor([[0.0, 0.1]]))
    return own, plain, adapted, trained


def test_features_equal_those_of_sam2(encoded):
    own, plain, adapted, _ = encoded
    for features in (plain, adapted.features):
        assert difference(features.top, own[2]) < 1e-5
        assert difference(features.fine[0], own[0]) < 1e-5
        assert difference(features.fine[1], own[1]) < 1e-5
    assert plain.top.shape == (2, 256, 16, 16)
    assert plain.top.std() > 0.1


def test_trained_adapters_change_features_at_both_fine_and_top_level(encoded):
    own, _, _, trained = encoded
    assert difference(trained.features.top, own[2]) > 0.1
    # stride 4 comes from before the first adapter, stride 8 from the first
    assert difference(trained.features.fine[0], own[0]) < 1e-5
    assert difference(trained.features.fine[1], own[1]) > 0.1


def own_masks(sam, image, features, prompt):
    """SAM2's decoder called with an empty prompt and one token more."""
    count = len(image)
    sparse, dense = sam.sam_prompt_encoder(
        points=(torch.zeros(count, 1, 2), -torch.ones(count, 1, dtype=torch.int32)),
        boxes=None,
        masks=None,
    )
    if prompt is not None:
        sparse = torch.cat([sparse, prompt], dim=1)
    assert sparse.shape[1] == (2 if prompt is None else 3)
    masks, _, tokens, presence = sam.sam_mask_decoder(
        image_embeddings=image,
        image_pe=sam.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        repeat_image=False,
        high_res_features=list(features.fine),
    )
    return masks[:, 0], presence[:, 0], sam.obj_ptr_proj(tokens[:, 0])


@torch.no_grad()
def test_masks_equal_those_of_sam2s_decoder(hiera, encoded):
    _, plain, adapted, _ = encoded
    sam, frames = hiera.vision.sam, torch.arange(2)
    prompts = adapted.prompts.expand(2, -1, -1)
    image = plain.top + sam.no_mem_embed.view(1, -1, 1, 1)
    found = hiera.segment(adapted.features, frames, None, prompts)
    masks, presence, pointers = own_masks(sam, image, plain, prompts)
    assert difference(found.masks, masks) < 1e-5
    assert difference(found.presence, presence) < 1e-5
    assert difference(found.pointers, pointers) < 1e-5
    assert found.masks.std() > 0.5

    silent = hiera.segment(plain, frames, None, None)
    masks, presence, pointers = own_masks(sam, image, plain, None)
    assert difference(silent.masks, masks) < 1e-5
    assert difference(silent.pointers, pointers) < 1e-5
    assert difference(silent.masks, found.masks) > 0.01  # the prompt counts


@torch.no_grad()
@pytest.mark.parametrize("logit", [5.0, -5.0])
def test_without_text_the_decoder_is_sam2s_own_head(hiera, encoded, logit):
    """Gating and the pointer of an absent object included."""
    _, plain, _, _ = encoded
    set_presence(hiera, logit)
    try:
        low, _, _, _, _, pointers, presence = hiera.vision.sam._forward_sam_heads(
            plain.top, high_res_features=list(plain.fine), multimask_output=False
        )
        found = hiera.vision.decode(plain.top, plain, None)
    finally:
        set_presence(hiera, 5.0)
    assert difference(found.gated(), low[:, 0]) < 1e-5
    assert difference(found.presence, presence[:, 0]) < 1e-5
    assert difference(found.pointers, pointers) < 1e-5
    assert bool((found.presence > 0).all()) == (logit > 0)
    assert (found.masks > -100).all()  # ungated, or there were no gradient


@torch.no_grad()
def test_first_frame_is_fused_as_by_sam2(hiera, encoded):
    _, plain, _, _ = encoded
    sam = hiera.vision.sam
    own = sam._prepare_memory_conditioned_features(
        frame_idx=0,
        is_init_cond_frame=True,
        feat_sizes=[(16, 16)],
        output_dict={},
        num_frames=16,
        current_vision_feats=[plain.top.flatten(2).permute(2, 0, 1)],
        current_vision_pos_embeds=[None],
    )
    assert difference(hiera.vision.read_memory(plain, torch.arange(2), None), own) < 1e-6


def own_memory(sam, features, logits, presence):
    return (
        sam._encode_new_memory(
            current_vision_feats=[features.top.flatten(2).permute(2, 0, 1)],
            feat_sizes=[(16, 16)],
            pred_masks_high_res=logits,
            object_score_logits=presence[:, None],
            is_mask_from_pts=False,
        )[0]
        .flatten(2)
        .transpose(1, 2)
    )  # (N, HW, Cm)


@torch.no_grad()
def test_memory_equals_that_of_sam2(hiera, encoded):
    """From a mask of an object that is there, and of one that is not."""
    _, plain, _, _ = encoded
    sam = hiera.vision.sam
    masks = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0)) * 3
    presence = torch.tensor([2.0, -2.0])
    prediction = MaskPrediction(masks, presence, torch.randn(2, 256))
    entry = hiera.vision.write_memory(plain, prediction, torch.tensor([3, 9]))
    gated = prediction.gated()  # as SAM2.1 does at inference
    high = F.interpolate(gated[:, None], size=(256, 256), mode="bilinear", align_corners=False)
    assert difference(entry.features[:, 0], own_memory(sam, plain, high, presence)) < 1e-5
    assert entry.frames.tolist() == [[3], [9]]
    assert torch.equal(entry.pointers[:, 0], prediction.pointers)
    swapped = own_memory(sam, plain, high, -presence)
    assert difference(entry.features[:, 0], swapped) > 1e-3


@torch.no_grad()
def test_memory_of_a_true_mask_equals_that_of_sam2s_mask_prompt(hiera, encoded):
    _, plain, _, _ = encoded
    sam = hiera.vision.sam
    target = torch.zeros(2, 256, 256, dtype=torch.bool)
    target[0, 50:120, 80:200] = True  # and nothing in the second frame
    prediction = MaskPrediction(torch.randn(2, 64, 64), torch.full((2,), -1.0), torch.randn(2, 256))
    entry = hiera.vision.write_memory(plain, prediction, torch.arange(2), target)
    presence = torch.tensor([10.0, -10.0])
    own = own_memory(sam, plain, target[:, None].float() * 20 - 10, presence)
    assert difference(entry.features[:, 0], own) < 1e-5
    assert torch.equal(entry.pointers[:, 0], prediction.pointers)
    half = hiera.vision.write_memory(plain, prediction, torch.arange(2), target[:, ::2, ::2])
    assert difference(half.features[:, 0], own) < 1e-4  # resized to S first


def test_frames_are_resized_without_padding_and_normalised(hiera):
    grey = torch.full((1, 3, 90, 160), 128, dtype=torch.uint8)
    images = hiera.vision.preprocess(grey)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    assert images.shape == (1, 3, 256, 256)
    assert difference(images, expected.view(1, 3, 1, 1).expand_as(images)) < 1e-5
    assert difference(hiera.vision.preprocess(grey / 255), images) < 1e-5


def test_gating_hides_absent_objects_only():
    prediction = MaskPrediction(
        torch.ones(3, 2, 2), torch.tensor([0.1, 0.0, -0.1]), torch.zeros(3, 4)
    )
    assert prediction.gated()[:, 0, 0].tolist() == [1.0, -1024.0, -1024.0]


def test_frame_features_index_and_join():
    features = FrameFeatures(
        torch.randn(4, 8, 2, 2), (torch.randn(4, 1, 8, 8), torch.randn(4, 2, 4, 4))
    )
    assert len(features) == 4
    again = FrameFeatures.cat([features[:1], features[torch.tensor([1, 2, 3])]])
    assert torch.equal(again.top, features.top)
    assert all(torch.equal(a, b) for a, b in zip(again.fine, features.fine, strict=True))
    kept = features[:1].clone()
    assert torch.equal(kept.top, features.top[:1])
    assert kept.top.untyped_storage().nbytes() < features.top.untyped_storage().nbytes()


# --- building and loading ------------------------------------------------------------------------


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_unknown_architecture_is_named():
    with pytest.raises(InputError) as error:
        build_sam(VisionConfig(architecture="sam2.1_hiera_xxl", image_size=128))
    assert "sam2.1_hiera_xxl" in one_line(error)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"image_encoder": {"trunk": {"_target_": "os.getcwd"}}}, "_target_"),
        ({"_target_": "os.getcwd"}, "_target_"),
        ({"image_encoder": {"trunk": {"stages": [{"_target_": "os.getcwd"}]}}}, "_target_"),
        ({"image_encoder": {"trunk": {"embed_dim": "${oc.env:HOME}"}}}, "not allowed"),
        ({"no_such_value": 1}, "no_such_value"),
        ({"image_encoder": {"trunk": {"stages": [1, 2]}}}, "vision.overrides"),
    ],
)
def test_overrides_are_values_of_the_yaml_and_call_nothing(overrides, named):
    """config.json comes with a checkpoint from anywhere: it must not choose what is called."""
    with pytest.raises(InputError) as error:
        build_sam(VisionConfig(architecture="sam2.1_hiera_t", overrides=overrides, image_size=128))
    assert named in one_line(error)


def test_memory_sizes_are_checked(tiny):
    for count in (0, 7):
        with pytest.raises(InputError, match="num_memories"):
            Vision(tiny.vision.sam, num_memories=count)
    with pytest.raises(InputError, match="num_pointers"):
        Vision(tiny.vision.sam, num_pointers=1)


def test_official_file_is_loaded_exactly(tiny, tmp_path):
    sam = tiny.vision.sam
    path = tmp_path / "sam2.1_tiny.pt"
    torch.save({"model": sam.state_dict()}, path)
    other = build_sam(tiny.config.vision)
    assert not torch.equal(other.no_mem_embed, sam.no_mem_embed)
    load_sam_weights(other, str(path))
    for name, value in sam.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


class _Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def _drop(state):
    del state["no_mem_embed"]


def _reshape(state):
    state["no_mem_embed"] = torch.zeros(3)


def _add(state):
    state["something_else"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "named"),
    [(_drop, "no_mem_embed"), (_reshape, "no_mem_embed"), (_add, "something_else")],
)
def test_other_tensors_than_expected_are_refused(tiny, tmp_path, change, named):
    state = dict(tiny.vision.sam.state_dict())
    change(state)
    path = tmp_path / "sam.pt"
    torch.save({"model": state}, path)
    before = tiny.vision.sam.no_mem_embed.clone()
    with pytest.raises(InputError) as error:
        load_sam_weights(tiny.vision.sam, str(path))
    assert named in one_line(error) and str(path) in one_line(error)
    assert torch.equal(tiny.vision.sam.no_mem_embed, before)


def test_damaged_and_foreign_files_are_refused(tiny, tmp_path):
    sam = tiny.vision.sam
    whole = tmp_path / "whole.pt"
    torch.save({"model": sam.state_dict()}, whole)
    bare = tmp_path / "bare.pt"
    torch.save(sam.state_dict(), bare)
    cut, empty, text = tmp_path / "cut.pt", tmp_path / "empty.pt", tmp_path / "text.pt"
    cut.write_bytes(whole.read_bytes()[:100_000])
    empty.touch()
    text.write_text("not weights")
    for path in (bare, cut, empty, text, tmp_path):
        with pytest.raises(InputError) as error:
            load_sam_weights(sam, str(path))
        assert str(path) in one_line(error)


def test_a_pickle_with_code_is_refused(tiny, tmp_path):
    path = tmp_path / "sam.pt"
    torch.save({"model": tiny.vision.sam.state_dict(), "more": _Malicious()}, path)
    with pytest.raises(InputError) as error:
        load_sam_weights(tiny.vision.sam, str(path))
    assert "not a readable checkpoint" in one_line(error)
