"""Networks that begin from another's weights: parts afresh, another picture size."""

import pytest
import torch
from networks import build

from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.module import TrainingModule, build_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    model = build("tiny")
    model.save_pretrained(folder)
    return model, folder


def test_named_modules_begin_afresh_and_the_rest_is_kept(saved):
    model, folder = saved
    torch.manual_seed(5)
    found = build_model(model.config, folder, "tam, temporal,adapters.0.difference")
    changed = {
        name
        for name, value in found.state_dict().items()
        if not torch.equal(value, model.state_dict()[name])
    }
    assert changed
    assert all(
        name.startswith(("tam.", "adapters.0.difference.")) or ".temporal." in name
        for name in changed
    )
    assert {
        "tam.head.weight",
        "adapters.0.difference.conv.weight",
        "adapters.2.temporal.position",
    } <= changed
    torch.manual_seed(6)  # another seed, other weights
    other = build_model(model.config, folder, "tam")
    assert not torch.equal(other.tam.head.weight, found.tam.head.weight)


def test_a_module_of_another_width_can_begin_afresh(saved):
    model, folder = saved
    config = model.config.with_values(**{"tam.dim": 64})
    assert build_model(config, folder, "tam").tam.head.weight.shape == (1, 64)
    with pytest.raises(InputError, match="do not fit"):
        build_model(config, folder)


def test_a_tam_begins_to_hear_what_moves_and_adapters_to_know_places(saved):
    model, folder = saved
    wanted = model.config.with_values(**{"tam.moves": 0.2, "adapter.places": True})
    found = build_model(wanted, folder)
    assert found.tam.moves is not None and not found.tam.moves.told.weight.any()
    assert not any(adapter.place.weight.any() for adapter in found.adapters)
    same = model.state_dict()
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in same.items())


def test_what_is_not_there_is_named(saved):
    model, folder = saved
    with pytest.raises(InputError, match="no module 'tma'"):
        build_model(model.config, folder, "tma")
    with pytest.raises(InputError, match="without --init"):
        build_model(model.config, None, "tam")


def test_a_network_goes_on_with_larger_pictures(saved):
    model, folder = saved
    vision, patches = model.config.vision, model.config.adapter.patch_sizes
    config = model.config.with_values(
        **{
            "vision.image_size": vision.image_size * 2,
            "adapter.patch_sizes": [2 * patch for patch in patches],
        }
    )
    found = build_model(config, folder)
    weights = model.state_dict()
    changed = {
        name for name, value in found.state_dict().items() if not torch.equal(value, weights[name])
    }
    assert changed == {f"adapters.{n}.temporal.position" for n in range(3)}
    for adapter, patch in zip(found.adapters, patches, strict=True):
        assert adapter.temporal.position.shape[0] == 4 * patch**2
    with pytest.raises(InputError, match="does not divide"):
        build_model(model.config.with_values(**{"adapter.patch_sizes": [12, 12, 6]}), folder)


def test_sam2_has_a_learning_rate_of_its_own(saved):
    module = TrainingModule(saved[0], "video", TrainConfig(lr=1e-3, sam_lr_factor=0.1))
    names = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    rest, sam = module.parameter_groups()
    assert (rest["lr"], sam["lr"]) == (1e-3, pytest.approx(1e-4))
    assert all("vision.sam." in names[id(p)] for p in sam["params"])
    assert not any("vision.sam." in names[id(p)] for p in rest["params"])
    assert len(rest["params"]) + len(sam["params"]) == len(names)
    (group,) = TrainingModule(saved[0], "video", TrainConfig(lr=1e-3)).parameter_groups()
    assert [id(p) for p in group["params"]] == list(names)
