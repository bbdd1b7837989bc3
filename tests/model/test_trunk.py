"""Trunks of timm: stage by stage they compute what timm's own forward does."""

import pytest
import timm
import torch
from networks import difference
from safetensors.torch import save_file

from tgl_e2e.config import VisionConfig
from tgl_e2e.errors import InputError
from tgl_e2e.model.bases import load_timm_weights
from tgl_e2e.model.build import build_sam
from tgl_e2e.model.trunk import TimmTrunk

NAMES = ["tf_efficientnet_lite0", "resnet18", "convnext_atto", "mobilenetv3_small_100"]


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_those_of_timm(name):
    torch.manual_seed(0)
    trunk = TimmTrunk(name).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = trunk.net.eval().forward_intermediates(images, intermediates_only=True)
        expected = [x for x in maps if images.shape[-1] // x.shape[-1] >= 4][-4:]
        found = trunk(images)
    assert [x.shape[1] for x in found] == trunk.channel_list[::-1]
    for one, other in zip(found, expected, strict=True):
        assert difference(one, other) < 1e-4  # BatchNorm is folded into what is before it


@pytest.mark.parametrize("name", NAMES)
def test_without_gradients_as_with_them(name):
    torch.manual_seed(0)
    trunk = TimmTrunk(name)
    for module in trunk.net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if it had been trained
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    images = torch.randn(3, 3, 64, 96)

    def of_both() -> float:
        with torch.no_grad():
            found = trunk(images)
        pairs = zip([x.detach() for x in trunk(images)], found, strict=True)
        return max(difference(one, other) / float(one.abs().max()) for one, other in pairs)

    assert of_both() < 1e-3
    with torch.no_grad():  # what was folded is not used when weights have changed
        for parameter in trunk.net.parameters():
            parameter.mul_(1.1)
    assert of_both() < 1e-3
    trunk.net.load_state_dict(timm.create_model(name).state_dict(), strict=False)
    assert of_both() < 1e-3


def test_a_frozen_trunk_needs_no_gradients_until_an_adapter_asks_for_them():
    trunk = TimmTrunk("resnet18").requires_grad_(False)
    x, ran = torch.randn(2, 16, 16, 64), []

    def step(block, x):
        ran.append(block)
        return block(x)

    assert not trunk.stage(x, 1, step).requires_grad and not ran
    assert trunk.stage(x.requires_grad_(), 1, step).requires_grad and ran


def test_batch_statistics_stay_as_they_were_in_training_too():
    trunk = TimmTrunk("resnet18").train()
    before = trunk.net.bn1.running_mean.clone()
    trunk(torch.randn(2, 3, 64, 64))
    assert torch.equal(trunk.net.bn1.running_mean, before)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "no_such_model"])
def test_what_is_no_chain_of_four_stages_is_refused(name):
    with pytest.raises(InputError, match=name):
        TimmTrunk(name)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_the_classifier_of_a_cell_is_that_of_the_image(name):
    """Of an image of one cell it is timm's own answer."""
    trunk = TimmTrunk(name, classifier=True)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        last = trunk(image)[-1]
        assert last.shape[-2:] == (1, 1)
        found = trunk.classify(last.permute(0, 2, 3, 1))[0, 0, 0]
        assert difference(found, trunk.net.eval()(image)[0]) < 1e-4


# --- weights ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vision() -> VisionConfig:
    return VisionConfig(trunk="timm/resnet18", architecture="sam2.1_hiera_t", image_size=64)


def test_weights_come_by_name_or_in_order(vision, tmp_path):
    source = timm.create_model("resnet18", pretrained=False)
    save_file(source.state_dict(), tmp_path / "named.safetensors")
    other = {f"_{i}": value for i, value in enumerate(source.state_dict().values())}
    torch.save(other, tmp_path / "ordered.pth")
    for name in ("named.safetensors", "ordered.pth"):
        sam = build_sam(vision)
        load_timm_weights(sam, str(tmp_path / name))
        trunk = sam.image_encoder.trunk.net.state_dict()
        assert trunk and all(torch.equal(trunk[k], source.state_dict()[k]) for k in trunk)


def test_other_weights_are_refused(vision, tmp_path):
    save_file({"conv": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "text.pth").write_text("not weights")
    sam = build_sam(vision)
    for name, said in (("other.safetensors", "not those of resnet18"), ("text.pth", "readable")):
        with pytest.raises(InputError, match=said) as error:
            load_timm_weights(sam, str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_a_trunk_that_is_none_of_timms_is_refused():
    with pytest.raises(InputError, match="timm/NAME"):
        build_sam(VisionConfig(trunk="swin", image_size=64))
