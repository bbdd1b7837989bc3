"""What a run does with its values, without running it."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

import train
from tgl_e2e.config import TGLConfig
from tgl_e2e.config.values import PRESETS
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.synthetic.__main__ import main as write_motion
from tgl_e2e.errors import InputError
from tgl_e2e.training.arguments import legs, parse_arguments
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.data import training_clips, validation_clips
from tgl_e2e.training.stage import score_of


def resolve(*words: str):
    return legs(parse_arguments("", list(words)))


@pytest.mark.parametrize("preset", ["hiera-b", "hiera-l"])
def test_presets_train_as_the_paper_says(preset):
    """A.1 of the paper; where it is silent, SAMWISE's values, as the README's table has them."""
    image, video = (TrainConfig.from_preset(preset, stage) for stage in ("image", "video"))
    assert (image.dataset, image.epochs, image.steps) == ("refcoco,refcoco+,refcocog", 6, 0)
    assert (image.batch_size, image.lr, image.num_frames) == (32, 1e-4, 1)
    assert (video.dataset, video.epochs, video.steps) == ("mevis", 1, 0)
    assert (video.batch_size, video.lr) == (4, 1e-5)
    assert video.num_frames == TGLConfig.from_preset(preset).window
    assert video.uniform_share == 0.4  # as inference deals frames; not in the paper
    for stage in (image, video):
        assert (stage.dice_weight, stage.focal_weight, stage.tam_weight) == (1, 1, 1)
        assert (stage.weight_decay, stage.beta2, stage.schedule) == (0, 0.999, "constant")
        assert stage.moment_sampling and stage.selective and stage.sam_lr_factor == 0.1


def test_values_come_from_preset_then_recipe_then_command_line():
    run = resolve(
        "--config",
        "tiny",
        "--seed",
        "7",
        "lr=1e-2",
        "--train.workers=3",
        "--model.memory.bank",
        "all",
        "valid_split=",
    )
    assert [leg.stage for leg in run] == [
        "dense",
        "image",
        "image",
        "align",
        "align",
        "video",
        "video",
        "video",
    ]
    assert all(
        leg.train.lr == 1e-2
        and leg.train.seed == 7
        and leg.train.workers == 3
        and leg.train.valid_split == ""
        for leg in run
    )
    assert all(leg.model.memory.bank == "all" for leg in run)
    assert run[1].train.cues == {"colour": 1.0} and run[1].train.steps == 400
    assert run[2].train.cues["shape"] == 0.45
    assert [leg.init for leg in run[1:]] == [leg.output for leg in run[:-1]]
    assert (
        run[-1].output == Path("runs/tiny")
        and validation_clips(run[-1].train, ClipOptions()) is None
    )
    (only,) = resolve("--config", "tiny", "--stage", "image", "cues={size: 1}")
    assert only.output == Path("runs/tiny-image") and only.train.cues == {"size": 1}


def test_a_recipe_changes_the_network_from_a_stage_on():
    before, last = resolve("--config", "tiny")[-2:]
    assert (before.model.vision.image_size, last.model.vision.image_size) == (128, 192)
    assert (before.model.adapter.patch_sizes, last.model.adapter.patch_sizes) == (
        (8, 8, 4),
        (12, 12, 6),
    )
    assert last.model == before.model.with_values(
        **{"vision.image_size": 192, "adapter.patch_sizes": [12, 12, 6]}
    )
    # Who sets the size chooses it for all stages, and the patches that fit it.
    run = resolve("--config", "tiny", "model.vision.image_size=256")
    assert {(leg.model.vision.image_size, leg.model.adapter.patch_sizes) for leg in run} == {
        (256, (8, 8, 4))
    }


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rate(schedule):
    config = TrainConfig(warmup=10, schedule=schedule)
    rates = [train.rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert rates[10] == 1 and all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(
        {"cosine": 0.02, "linear": 1 / 90, "constant": 1}[schedule], abs=1e-3
    )
    assert train.rate(TrainConfig(warmup=0), 0, 100) == 1


def test_the_best_network_is_chosen_by_a_figure_that_is_there():
    report = {"loss": 2.0, "iou": 0.5, "top1": 0.7}
    assert score_of(report, "top1", "video") == 0.7
    assert score_of(report, "loss", "video") == -2  # less is better
    assert score_of({"loss": 2.0}, "iou", "dense") == -2
    with pytest.raises(InputError, match=r"best=speed: .* iou, top1"):
        score_of(report, "speed", "video")


@pytest.fixture(scope="module")
def mevis(tmp_path_factory):
    root = tmp_path_factory.mktemp("mevis")
    write_motion(
        [
            "--output",
            str(root),
            "--split",
            "train",
            "--videos",
            "3",
            "--seed",
            "1",
            "--level",
            "easy",
        ]
    )
    return root


def test_epochs_become_steps(mevis):
    config = TrainConfig(dataset="mevis", root=str(mevis), epochs=3, batch_size=2, valid_split="")
    clips, steps = training_clips(config, ClipOptions(size=64))
    assert steps == round(3 * clips.epoch_length / 2) and len(clips) == steps * 2
    clips, steps = training_clips(
        TrainConfig(dataset="mevis", root=str(mevis), steps=5), ClipOptions(size=64)
    )
    assert steps == 5 and len(clips) == 5 * 4
    with pytest.raises(InputError, match="valid_split= leaves validation out"):
        validation_clips(TrainConfig(dataset="mevis", root=str(mevis)), ClipOptions(size=64))
    with pytest.raises(InputError, match="steps=N"):
        training_clips(TrainConfig(), ClipOptions())


def test_data_sets_in_folders_of_their_own(mevis, tmp_path):
    write_motion(
        [
            "--output",
            str(tmp_path),
            "--split",
            "train",
            "--videos",
            "1",
            "--seed",
            "2",
            "--level",
            "easy",
        ]
    )

    def expressions(dataset, root):
        config = TrainConfig(dataset=dataset, root=root, valid_split="")
        return training_clips(config, ClipOptions(size=64))[0].epoch_length

    first, second = expressions("mevis", str(mevis)), expressions("motion", str(tmp_path))
    assert expressions("mevis, motion", f"{mevis}, {tmp_path}") == first + second
    assert expressions("mevis,motion", str(mevis)) == 2 * first
    with pytest.raises(InputError, match="3 folders for 2 data sets"):
        expressions("mevis,motion", "a,b,c")


@pytest.mark.parametrize(
    "path", sorted((PRESETS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem
)
def test_accelerate_reads_the_shipped_configurations(path):
    config = load_config_from_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert config.num_processes == written["num_processes"]
    assert config.mixed_precision == "bf16"
    assert str(config.distributed_type).endswith(written["distributed_type"])
