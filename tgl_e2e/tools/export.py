"""What is shipped of a training: its network, small, and the record of how it came about.

    python -m tgl_e2e.tools.export runs/tiny checkpoints/tgl-tiny

The output folder holds the network in half precision (``--float32`` as it is), its tokenizer, and
training.json: for every stage its resolved values, hours, first losses and validations.
``train.py`` with these values on the same kind of device repeats these losses.

A stage that went on from another checkpoint (``train.py --init``) can be averaged with it
(``--average checkpoints/tgl-tiny``): the mean of both networks' weights is often better than either
(model soups, Wortsman et al., 2022).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import EARLIER_STAGES

if TYPE_CHECKING:
    from tgl_e2e.model.tgl import TGL

FIRST_LOSSES = 100


def describe_stage(folder: Path) -> dict[str, Any]:
    """What one stage's folder says of its training.

    Raises:
        InputError: train.py has not written that folder, or not to its end.
    """
    try:
        resolved = json.loads((folder / "run.json").read_text())
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        valid = folder / "valid.jsonl"
        reports = valid.read_text().splitlines() if valid.is_file() else []
        return {
            "stage": resolved["stage"],
            "precision": resolved["precision"],
            "steps": log[-1]["step"],
            "hours": round(sum(1 / row["steps/s"] for row in log) / 3600, 3),
            "size": resolved["model"]["vision"]["image_size"],
            "block": resolved["model"]["block"],
            "train": without_paths(resolved["train"]),
            "first_losses": [round(row["loss"], 5) for row in log[:FIRST_LOSSES]],
            "validations": [json.loads(line) for line in reports],
        }
    except (OSError, ValueError, KeyError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{folder}: no run of train.py ({reason}); give the --output of one"
        ) from None


def without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Where the data lay on one machine is nobody else's business; which data it was is."""
    roots = [part.split("+") for part in values.get("root", "").split(",")]
    named = ",".join("+".join(Path(folder).name for folder in part) for part in roots)
    return {**values, "root": named}


def describe_run(folder: Path) -> dict[str, Any]:
    """{stage's name: what was done}, in order; of a recipe, or of one stage."""
    earlier = folder / EARLIER_STAGES
    stages = sorted(earlier.iterdir()) if earlier.is_dir() else []
    described = {stage.name: describe_stage(stage) for stage in stages}
    last = describe_stage(folder)
    return {**described, f"{len(stages) + 1}-{last['stage']}": last}


def average(network: TGL, other: TGL) -> None:
    """Puts the mean of both networks' weights into the first.

    Raises:
        InputError: they are not of the same parts and sizes, or read other words.
    """
    mine, theirs = network.state_dict(), other.state_dict()
    same_parts = {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}
    if not same_parts or network.text.tokenizer.get_vocab() != other.text.tokenizer.get_vocab():
        raise InputError(
            f"--average: a network of {'another vocabulary' if same_parts else 'other parts'} than "
            "the run's; give the checkpoint that its training began with"
        )
    means = {k: (v + theirs[k]) / 2 for k, v in mine.items() if v.is_floating_point()}
    network.load_state_dict(mine | means)


def dump(record: dict[str, Any]) -> str:
    """JSON with one line per value; lists of numbers stay on theirs."""
    text = json.dumps(record, indent=1)
    return re.sub(r"\[[-\d.eE,\s]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = cli.Parser(prog="python -m tgl_e2e.tools.export", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, help="--output of train.py")
    add("output", type=Path, help="folder to write to; files of these names in it are replaced")
    text = "write the mean of the run's weights and of this network's"
    add("--average", metavar="CHECKPOINT", help=text)
    add("--float32", action="store_true", help="keep the precision of training")
    text = "write the frozen bases too, in files of their own"
    add("--bases", action="store_true", help=text)
    options = parser.parse_args(arguments)
    return cli.run("export", lambda: export(options))


def export(options: argparse.Namespace) -> None:
    """Writes the checkpoint and its record."""
    import torch

    from tgl_e2e.evaluation.provenance import fingerprint
    from tgl_e2e.files import write_text
    from tgl_e2e.model.tgl import TGL

    record = describe_run(options.run)
    network = TGL.from_pretrained(options.run)
    if options.average:
        average(network, TGL.from_pretrained(options.average))
        record[list(record)[-1]]["averaged_with"] = {
            "checkpoint": options.average,
            "sha256": fingerprint(options.average),
        }
    dtype = None if options.float32 else torch.float16
    network.save_pretrained(options.output, include_frozen=options.bases or None, dtype=dtype)
    write_text(options.output / "training.json", dump(record))
    size = (options.output / "model.safetensors").stat().st_size
    print(
        f"{options.output}: {size / 2**20:.1f} MB, {len(record)} stages, "
        f"{sum(stage['hours'] for stage in record.values()):.1f} hours of steps"
    )


if __name__ == "__main__":
    sys.exit(main())
