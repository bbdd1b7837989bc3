"""The configuration: presets, strictness, copies."""

import dataclasses
import json

import pytest

from tgl_e2e import TGLConfig
from tgl_e2e.config import CONFIG_NAME, preset_names, read_preset
from tgl_e2e.errors import InputError


def refused(call, *arguments, **changes) -> str:
    with pytest.raises(InputError) as error:
        call(*arguments, **changes)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["tiny", "hiera-b", "hiera-l"])
def test_presets(name):
    config = TGLConfig.from_preset(name)
    assert config.name == name and name in preset_names()
    assert TGLConfig.from_dict(config.to_dict()) == config
    assert {"image", "video"} <= set(read_preset(name)["train"])


def test_presets_follow_the_paper():
    base, large, tiny = (TGLConfig.from_preset(n) for n in ("hiera-b", "hiera-l", "tiny"))
    for config in (base, large):
        assert config.freeze_bases and config.vision.image_size == 1024
        assert config.adapter.patch_sizes == (8, 4, 2) and config.adapter.dim == 256
        assert config.text.adapter_layers == (4, 8, 12)
        assert (config.memory.num_memories, config.memory.num_pointers) == (6, 16)
        assert config.memory.bank == "relevant" and config.memory.mfe and config.memory.dual_path
    assert (base.window, large.window) == (8, 6)
    assert not tiny.freeze_bases and tiny.vision.base is None and tiny.text.base is None


def test_unknown_preset_lists_the_known_ones():
    message = refused(TGLConfig.from_preset, "huge")
    assert "huge" in message and "tiny" in message


def test_every_top_level_value_has_a_place_in_json():
    config = TGLConfig.from_preset("tiny")
    plain = json.loads(json.dumps(config.to_dict()))
    assert set(plain) == {f.name for f in dataclasses.fields(TGLConfig)}
    assert plain["text"]["adapter_layers"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"no_such": 1}, "no_such"),
        ({"vision": {"sise": 64}}, "config.vision: unknown key 'sise'"),
        ({"vision": 3}, "config.vision: expected a mapping"),
        ([], "expected a mapping"),
        ({"window": "eight"}, "config"),
    ],
)
def test_wrong_values_are_named(values, named):
    assert named in refused(TGLConfig.from_dict, values)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"text.adapter_layers": [4, 8]}, "three entries"),
        ({"adapter.patch_sizes": [8]}, "three entries"),
        ({"text.adapter_layers": [4, 8, 13]}, "exceed"),
        ({"text.adapter_layers": [8, 4, 12]}, "ascend"),
        ({"text.adapter_layers": [4, 4, 12]}, "ascend"),
        ({"adapter.patch_sizes": [8, 0, 2]}, "patch_sizes"),
        ({"adapter.num_heads": 5}, "adapter.num_heads"),
        ({"tam.dim": 30}, "tam.dim"),
        ({"memory.bank": "some"}, "memory.bank"),
        ({"memory.pool": 4}, "memory.pool"),
        ({"tam.pooling": "max"}, "tam.pooling"),
        ({"tam.moves": 1.5}, "tam.moves"),
        ({"tam.moves": 0.1, "tam.pooling": "mean"}, "tam.pooling"),
        ({"window": 0}, "window"),
        ({"window": 65}, "window"),
        ({"vision.image_size": 1000}, "multiple of 32"),
        ({"vision.image_size": 0}, "multiple of 32"),
        ({"memory.nothing": 1}, "memory.nothing"),
        ({"nothing.bank": 1}, "nothing.bank"),
        ({"window.bank": 1}, "window.bank"),
    ],
)
def test_impossible_values_are_refused(changes, named):
    assert named in refused(TGLConfig.from_preset("hiera-b").with_values, **changes)


def test_with_values_copies():
    config = TGLConfig.from_preset("hiera-b")
    changes = {"memory.bank": "all", "window": 4, "adapter.patch_sizes": [4, 4, 4]}
    other = config.with_values(**changes)
    assert (other.memory.bank, other.window, other.adapter.patch_sizes) == ("all", 4, (4, 4, 4))
    assert (config.memory.bank, config.window) == ("relevant", 8)
    assert other.vision == config.vision


def test_config_files(tmp_path):
    assert CONFIG_NAME in refused(TGLConfig.load, tmp_path)
    path = tmp_path / CONFIG_NAME
    for content in ("{", "", '{"no_such": 1}', "[1, 2]", "3", '{"vision": null}'):
        path.write_text(content)
        refused(TGLConfig.load, tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    refused(TGLConfig.load, tmp_path)
    config = TGLConfig.from_preset("tiny")
    for values in (config.to_dict(), {"model": config.to_dict()}):
        path.write_text(json.dumps(values))
        assert TGLConfig.load(tmp_path) == config


def test_smoothing_needs_an_odd_width():
    config = TGLConfig.from_preset("tiny")
    assert "odd" in refused(config.with_values, **{"tam.smooth": 4})
    assert config.with_values(**{"tam.smooth": 5}).tam.smooth == 5
