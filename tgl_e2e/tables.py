"""The paper's tables beside our own numbers.

    python -m tgl_e2e.tables run --checkpoint DIR --dataset mevis --root DIR --output results/
    python -m tgl_e2e.tables show results/ [--table 4]

`run` evaluates one checkpoint in the ways that Tables 1, 4, 6 and 7 compare; killed, it goes on
where it was. `show` collects all evaluations below some folders, whoever made them: those of the
ablations (see `tgl_e2e.ablate`) fill Tables 2 and 3, several seeds become mean and deviation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.collect import find_runs, read_run, tell
from tgl_e2e.evaluation.paper import TABLES, TOP_K

# Arguments of tgl_e2e.evaluate that its scores depend on, beside the network.
DECISIVE = ("dataset", "root", "split", "moments", "threshold", "always_target", "tam_stride",
            "max_videos")  # fmt: skip
MODES = (
    "auto", "oracle", "all", *(f"top-k:{k}" for k in TOP_K),
    *(f"oracle+top-k:{k}" for k in TOP_K),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        return args.action(args)
    except InputError as error:
        print(f"tables: error: {error}", file=sys.stderr)
        return 2


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    from tgl_e2e.data.datasets import DATASETS

    parser = argparse.ArgumentParser(
        prog="tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(required=True, metavar="{run,show}")
    run = actions.add_parser("run", help="evaluate a checkpoint in the ways that tables compare")
    run.set_defaults(action=run_modes)
    run.add_argument("--checkpoint", required=True, metavar="DIR")
    run.add_argument("--dataset", required=True, choices=DATASETS)
    run.add_argument("--root", required=True, metavar="DIR")
    run.add_argument("--splits", nargs="+", default=["valid_u", "valid"], metavar="SPLIT",
                     help="default: valid_u valid")  # fmt: skip
    run.add_argument("--moments", nargs="+", default=MODES, metavar="MODE",
                     help=f"as of tgl_e2e.evaluate (default: {' '.join(MODES)})")  # fmt: skip
    run.add_argument("--output", required=True, type=Path, metavar="DIR",
                     help="gets a folder SPLIT/MODE for each evaluation")  # fmt: skip
    run.add_argument("--processes", type=int, default=1, metavar="N", help="default: 1")
    run.add_argument("--max-videos", type=int, metavar="N", help="only the first N videos")
    run.add_argument("--always-target", action="store_true",
                     help="as of tgl_e2e.evaluate: for MeViS v1, where all have one")  # fmt: skip
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    show = actions.add_parser("show", help="print the tables")
    show.set_defaults(action=show_tables)
    show.add_argument("folders", nargs="+", type=Path, metavar="DIR",
                      help="every metrics.json below them counts")  # fmt: skip
    show.add_argument("--table", type=int, choices=[t.number for t in TABLES], metavar="N",
                      help="one of 1 to 7 (default: all)")  # fmt: skip
    show.add_argument("--markdown", action="store_true", help="for a README")
    return parser.parse_args(arguments)


def show_tables(args: argparse.Namespace) -> int:
    runs = find_runs(args.folders)
    chosen = [t for t in TABLES if args.table in (None, t.number)]
    print("\n\n".join(tell(table, runs, args.markdown) for table in chosen))
    return 0


def run_modes(args: argparse.Namespace) -> int:
    options = ["--checkpoint", args.checkpoint, "--dataset", args.dataset, "--root", args.root,
               "--device", args.device, "--no-masks"]  # fmt: skip
    if args.max_videos is not None:
        options += ["--max-videos", str(args.max_videos)]
    if args.always_target:
        options.append("--always-target")
    for split in args.splits:
        for moments in args.moments:
            status = evaluate_once(args.output / split / folder_name(moments),
                                   [*options, "--split", split, "--moments", moments],
                                   args.processes)  # fmt: skip
            if status != 0:
                return status
    return 0


def evaluate_once(output: Path, options: Sequence[str], processes: int = 1) -> int:
    """Runs tgl_e2e.evaluate with some options, unless that was done; returns its exit status.

    Raises:
        InputError: the folder holds another evaluation.
    """
    if (output / "metrics.json").exists():
        check_same(output, options)
        return 0
    options = [*options, "--output", str(output), "--resume"]
    if processes == 1:
        from tgl_e2e.evaluate import main as evaluate_here

        return evaluate_here(options)
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1",
                "--num_processes", str(processes), "--mixed_precision", "no",
                "--dynamo_backend", "no"]  # fmt: skip
    return subprocess.call([sys.executable, *launcher, "-m", "tgl_e2e.evaluate", *options])


def folder_name(moments: str) -> str:
    """A mode as a folder's name: a file by its name alone."""
    return Path(moments).name.replace("+", "-").replace(":", "")


def check_same(output: Path, options: Sequence[str]) -> None:
    """InputError if a finished evaluation is not the one that is asked for."""
    from tgl_e2e.evaluate import fingerprint, parse_arguments

    path = output / "metrics.json"
    read_run(path)  # of this version
    before = json.loads(path.read_text(encoding="utf-8"))["config"]
    asked = vars(parse_arguments([*options, "--output", str(output)]))
    differing = [name for name in DECISIVE if name in before["arguments"]
                 and before["arguments"][name] != (
                     str(asked[name]) if isinstance(asked[name], Path) else asked[name])]
    if before["checkpoint_sha256"] != fingerprint(asked["checkpoint"]):
        differing.insert(0, "checkpoint")
    if differing:
        raise InputError(f"{output}: holds an evaluation with another {differing[0]}; give another "
                         "--output, or remove that folder to evaluate again")


if __name__ == "__main__":
    sys.exit(main())
