"""Tables filled from evaluations on disk, and the runs that fill them."""

import json

import pytest
import yaml

from tgl_e2e.config import TGLConfig
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.ablate import RUNS, parse_arguments, steps_done, train, train_arguments
from tgl_e2e.evaluation.paper import FULL, find_runs, switches_of, tables, tell
from tgl_e2e.evaluation.tables import folder_name, main
from tgl_e2e.training.config import TrainConfig


def write_run(folder, moments, jf, split="valid_u", dataset="motion", training=None, **model):
    """A metrics.json with what tables read."""
    folder.mkdir(parents=True)
    scores = dict.fromkeys(("J", "F", "R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75"), 50.0)
    content = {
        "dataset": {"name": dataset, "split": split, "videos": 3},
        "overall": {"J&F": jf, "top1": 80.0, **scores},
        "breakdown": {"level": {"easy": {}}} if dataset == "motion" else {},
        "parameters": {"total": 7_900_000, "tam": 400_000},
        "config": {
            "arguments": {"moments": moments},
            "model": TGLConfig.from_preset("tiny").with_values(**model).to_dict(),
            "training": training,
        },
    }
    (folder / "metrics.json").write_text(json.dumps(content))


def lines(table, folder):
    text = tell(tables()[table - 1], find_runs([folder]))
    return {line.split("  ")[0]: line for line in text.splitlines()}


def test_seeds_become_mean_and_deviation(tmp_path):
    for seed, jf in enumerate((60.0, 62.0, 67.0)):
        training = {"seed": seed, "even_spacing": True}
        write_run(tmp_path / f"full{seed}", "oracle", jf, training=training)
    off = {"moment_sampling": False, "selective": False, "even_spacing": True}
    write_run(tmp_path / "none", "oracle", 41.0, training=off, **{"memory.dual_path": False})
    found = lines(2, tmp_path)
    assert "63.0 ± 3.6 (n = 3) / 60.8" in found["moment sampling, MDP, OSS"]
    assert "41.0 / 56.8" in found["none"] and "- / 58.3" in found["moment sampling, OSS"]
    assert "63.0 ± 3.6 (n = 3) / 60.8" in lines(3, tmp_path)["MFE, bank of M+"]
    heading = tell(tables()[1], find_runs([tmp_path]))
    assert "not MeViS" in heading and "valid_u of 3 videos (level easy)" in heading


def test_modes_stand_in_their_rows(tmp_path):
    for n, (moments, jf) in enumerate(
        [
            ("auto", 51.0),
            ("all", 52.0),
            ("oracle", 53.0),
            ("top-k:4", 54.0),
            ("oracle+top-k:4", 55.0),
            ("retriever.json", 56.0),
            ("retriever.json+top-k:4", 57.0),
        ]
    ):
        write_run(tmp_path / str(n), moments, jf)
    found = lines(4, tmp_path)
    for label, jf in (
        ("auto (TAM)", 51),
        ("every frame M+", 52),
        ("oracle", 53),
        ("top-k:4", 54),
        ("oracle + top-k:4", 55),
        ("given intervals", 56),
        ("given intervals + top-k:4", 57),
    ):
        assert f"{jf}.0" in found[label] and "80.0" in found[label], label
    assert "80.0 " not in found["top-k:8"]
    assert "7.9 M (0.4 M)" in lines(1, tmp_path)["oracle"]
    assert "- / 55.5" in lines(7, tmp_path)["baseline: trained without moments, every frame M+"]
    assert "nothing was evaluated" in tell(tables()[4], find_runs([tmp_path]))


def test_zero_shot_across_data_sets(tmp_path, capsys):
    write_run(tmp_path / "a", "auto", None, "valid", "ref-youtube-vos")
    write_run(tmp_path / "b", "auto", 30.0, "valid", "ref-davis")
    content = json.loads((tmp_path / "b" / "metrics.json").read_text())
    content["matched"] = {"J": 31.0, "F": 33.0, "J&F": 32.0}
    (tmp_path / "b" / "metrics.json").write_text(json.dumps(content))
    found = lines(5, tmp_path)["auto (TAM)"]
    assert "- / 60.3" in found and "32.0 / 67.4" in found
    assert main(["show", str(tmp_path), "--table", "5", "--markdown"]) == 0
    assert "| auto (TAM) | VLM moments | - / 60.3 | 32.0 / 67.4 |" in capsys.readouterr().out


def test_bad_folders_are_named(tmp_path, capsys):
    assert main(["show", str(tmp_path)]) == 2
    assert "no metrics.json below it" in capsys.readouterr().err
    (tmp_path / "metrics.json").write_text("{}")
    assert main(["show", str(tmp_path)]) == 2
    assert "evaluate again" in capsys.readouterr().err
    assert folder_name("/data/chrono.json+top-k:4") == "chrono.json-top-k4"


# Ablations


def arguments(folder, *more):
    return parse_arguments(
        [
            "--config",
            "tiny",
            "--init",
            "runs/align",
            "--steps",
            "5",
            "--output",
            str(folder),
            "--dataset",
            "motion",
            "--root",
            "data",
            *more,
        ]
    )


@pytest.mark.parametrize("name", RUNS)
def test_each_run_goes_without_what_its_row_says(tmp_path, name):
    """What train.py would be told, read back as what tables read from the finished run."""

    args = arguments(tmp_path, "--values", "lr=1e-5")
    told = train_arguments(args, name, 3, tmp_path / "network")
    assert told[:4] == ["--config", "tiny", "--stage", "video"] and "lr=1e-5" in told
    values = [x.split("=") for x in told if "=" in x]
    values = {key: yaml.safe_load(value) for key, value in values}
    model = {k.removeprefix("model."): v for k, v in values.items() if k.startswith("model.")}
    training = {k: v for k, v in values.items() if not k.startswith("model.")}
    training = TrainConfig.from_preset("tiny", "video").to_dict() | training
    assert set(training) == set(TrainConfig().to_dict())  # no value that train.py does not know
    assert (training["steps"], training["seed"]) == (5, 3)
    model = TGLConfig.from_preset("tiny").with_values(**model).to_dict()
    assert switches_of(model, training) == FULL - set(RUNS[name])


def test_a_finished_run_is_not_trained_again_and_another_is_refused(tmp_path):
    args, network = arguments(tmp_path), tmp_path / "full" / "seed-0" / "network"
    network.mkdir(parents=True)
    note = network.parent / "training.json"
    told = train_arguments(args, "full", 0, network)
    note.write_text(json.dumps({"arguments": told, "finished": True}))
    assert train(args, "full", 0, network) == 0
    with pytest.raises(InputError, match="had other arguments"):
        train(arguments(tmp_path, "--values", "lr=1"), "full", 0, network)
    assert steps_done(network) is None
    (network / "state").mkdir()
    (network / "state" / "progress.json").write_text('{"step": 5}')
    assert steps_done(network) == 5
