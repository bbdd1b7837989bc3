"""Our segmenter against SAM2's own video predictor, in time and memory:
`python -m tgl_e2e.benchmark`.

Both run in turns in one process, on the same JPEG frames, with the same backbone of random weights:
ours segments what a sentence describes, the predictor propagates one object from a box on the first
frame. Random weights decide nothing sensible, so M+ is set: with `--moments given` as intervals,
with `--moments auto` beside a TAM that scores every frame as always.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgl_e2e import cli
from tgl_e2e.benchmark import BACKBONES
from tgl_e2e.files import write_text


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m tgl_e2e.benchmark", description=__doc__)
    add, count = parser.add_argument, {"type": cli.positive, "metavar": "N"}
    add(
        "--against",
        default="official",
        choices=("official", "samwise", "samwise-fast"),
        help="SAM2's predictor, or SAMWISE's procedure on its architecture (all frames are M+; try "
        "--texts 4): as SAM2's own code runs, or with what ours makes faster (default: official)",
    )
    add("--backbone", default="hiera-t", choices=BACKBONES, help="default: hiera-t")
    add("--moments", default="auto", choices=("auto", "given"), help="default: auto")
    add("--share", type=int, default=50, metavar="P", help="percent of frames in M+ (default: 50)")
    add("--pool", type=int, default=1, choices=(1, 2), help="memory.pool (default: 1)")
    stride = "relevance from every N-th frame (default: 1); 0: none, with given moments"
    add("--tam-stride", type=int, default=1, metavar="N", help=stride)
    add("--dtype", default="float32", choices=cli.DTYPES, help="default: float32")
    add("--official-dtype", choices=cli.DTYPES, help="of SAM2's predictor, where another")
    add("--image-size", type=int, metavar="S", help="default: 1024, and 128 for tiny")
    add("--texts", **count, default=1, help="expressions at once (default: 1)")
    add("--frames", **count, default=12, help="of the video (default: 12)")
    add("--rounds", **count, default=3, help="runs of each, in turns (default: 3)")
    add("--video", metavar="FILE", help="whose first frames are used; default: generated ones")
    add("--device", default="cpu", help="default: cpu")
    add("--threads", **count, help="of the CPU (default: torch's own choice)")
    for name, letter, text in (
        ("lengths", "N", "ours alone on so many frames"),
        ("numbers-of-texts", "N", "ours alone with so many expressions"),
        ("sizes", "S", "both at these S"),
    ):
        several = {**count, "metavar": letter, "nargs": "+", "default": []}
        add(f"--{name}", **several, help=f"also: {text}")
    add("--no-stages", action="store_true", help="leave out the times by stage and the floor")
    add("--output", metavar="FILE", help="everything as JSON")
    args = parser.parse_args(arguments)
    if args.against != "official":
        args.moments, args.share, args.tam_stride = "given", 100, 0
    if not 1 <= args.share <= 100:
        parser.error("--share is a percentage from 1 to 100")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    os.environ["TQDM_DISABLE"] = "1"  # the predictor's own bars

    def command() -> None:
        report = _benchmark(args)
        if args.output:
            write_text(Path(args.output), json.dumps(report, indent=1) + "\n")

    return cli.run("benchmark", command)


def _benchmark(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from tgl_e2e.benchmark.contenders import Official, Ours, generated, network_config, save_frames
    from tgl_e2e.benchmark.measure import bandwidth, matrix_rate
    from tgl_e2e.benchmark.samwise import Samwise

    rival = Official if args.against == "official" else Samwise
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    threads = torch.get_num_threads()
    report: dict[str, Any] = {
        "settings": {
            **vars(args),
            "threads": threads,
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
        },
        "matrix_flops_per_second": matrix_rate(device, getattr(torch, args.dtype)),
        "bytes_per_second": bandwidth(device),
    }
    print(_description(args, threads), flush=True)
    _say(
        f"machine: {report['matrix_flops_per_second'] / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{report['bytes_per_second'] / 1e9:.1f} GB/s in a copy"
    )
    with tempfile.TemporaryDirectory() as folder:
        frames = save_frames(args, Path(folder))
        ours = Ours(args, network_config(args), frames)
        official = rival(args, ours)
        report.update(_compare(args, ours, official, device))
        _say_ratio(report)
        if not args.no_stages:
            report["stages"] = {"ours": ours.stages(), "official": official.stages()}
            report["floor"] = _floor(ours, report)
            _say_stages(report)
        for size in args.sizes:
            ours = Ours(args, network_config(args, size), frames)
            row = _compare(args, ours, rival(args, ours), device)
            report.setdefault("sizes", {})[str(size)] = row
            _say_ratio(row, f"S = {size}: ")
    # Ascending, so that what an allocator keeps of one run cannot hide in the next.
    alone = [("lengths", n, n, args.texts) for n in sorted(args.lengths)]
    alone += [("numbers_of_texts", n, args.frames, n) for n in sorted(args.numbers_of_texts)]
    if alone:
        ours = Ours(args, network_config(args), generated(args.frames))
    for kind, count, length, texts in alone:
        row = _alone(ours, generated(length), texts, device)
        report.setdefault(kind, {})[str(count)] = row
        _say_alone(f"{count} {'frames' if kind == 'lengths' else 'expressions'}", row)
    return report


def _description(args: argparse.Namespace, threads: int) -> str:
    extra = ", memory pooled" if args.pool > 1 else ""
    extra += f", TAM at stride {args.tam_stride}" if args.tam_stride > 1 else ""
    return (
        f"{args.backbone}, {args.frames} frames, M+ {args.share} % ({args.moments}), "
        f"{args.texts} text(s){extra}; {args.dtype} against {args.against} in "
        f"{args.official_dtype or args.dtype}, {args.device}, {threads} thread(s)"
    )


def _compare(args: argparse.Namespace, ours: Any, official: Any, device: Any) -> dict[str, Any]:
    """Both in turns; seconds per frame, their ratio by round, and peak memory."""
    from tgl_e2e.benchmark.measure import Measured

    runs: dict[str, list[Measured]] = {"ours": [], "official": []}
    ours.warm_up()
    official.warm_up()
    for turn in range(args.rounds):
        order = [("official", official.run), ("ours", ours.run)]
        for name, run in order if turn % 2 == 0 else order[::-1]:
            with Measured(device) as measured:
                run()
            runs[name].append(measured)
    seconds, cpu_seconds = (
        {name: [getattr(run, what) / args.frames for run in runs[name]] for name in runs}
        for what in ("seconds", "cpu_seconds")
    )
    return {
        "ratio": _ratio(seconds),
        "ours": _spread(seconds["ours"]),
        "official": _spread(seconds["official"]),
        "cpu_ratio": _ratio(cpu_seconds),  # of processor time: steadier where others run too
        "peak_memory": {name: runs[name][-1].peaks for name in runs},
    }


def _ratio(values: dict[str, list[float]]) -> dict[str, float]:
    return _spread([a / b for a, b in zip(values["ours"], values["official"], strict=True)])


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _alone(ours: Any, source: Any, texts: int, device: Any) -> dict[str, Any]:
    """Ours on another video or with another number of expressions."""
    from tgl_e2e.benchmark.measure import Measured

    with Measured(device) as measured:
        count = ours.run(None, source, texts)
    return {"seconds_per_frame": measured.seconds / count, **measured.peaks}


def _floor(ours: Any, report: dict[str, Any]) -> dict[str, float]:
    """What a frame would take if every product ran at the machine's matrix rate, and reading the
    weights for every window of frames took nothing but bandwidth."""
    flops, traffic = ours.flops_and_bytes_per_frame()
    at_rate = flops / report["matrix_flops_per_second"], traffic / report["bytes_per_second"]
    names = ("flops_per_frame", "bytes_per_frame", "seconds_per_frame")
    return dict(zip(names, (flops, traffic, max(at_rate)), strict=True))


def _say(text: str) -> None:
    """What is known so far."""
    print(f"  {text}", flush=True)


def _say_ratio(row: dict[str, Any], what: str = "") -> None:
    ratio = row["ratio"]
    _say(
        f"{what}seconds per frame: ours {row['ours']['median']:.4f}, official "
        f"{row['official']['median']:.4f}; ratio {ratio['median']:.2f} "
        f"({ratio['min']:.2f} to {ratio['max']:.2f}), of processor time "
        f"{row['cpu_ratio']['median']:.2f}"
    )


def _say_stages(report: dict[str, Any]) -> None:
    _say(f"{'seconds per frame':<22}{'ours':>10}{'official':>10}")
    for stage, seconds in report["stages"]["ours"].items():
        theirs = report["stages"]["official"][stage]
        shown = f"{theirs:>10.4f}" if theirs else f"{'-':>10}"
        _say(f"  {stage:<20}{seconds:>10.4f}{shown}")
    floor = report["floor"]
    _say(
        f"{'floor':<22}{floor['seconds_per_frame']:>10.4f}  "
        f"({floor['flops_per_frame'] / 1e9:.0f} GFLOP, "
        f"{floor['bytes_per_frame'] / 1e6:.0f} MB per frame)"
    )
    for kind in ("host", "device"):
        peaks = [report["peak_memory"][who][f"{kind}_bytes"] for who in ("ours", "official")]
        if None not in peaks:
            shown = "".join(f"{peak / 1e9:>10.2f}" for peak in peaks)
            _say(f"{f'peak {kind} memory, GB':<22}{shown}")


def _say_alone(what: str, row: dict[str, Any]) -> None:
    device = row["device_bytes"]
    shown = "" if device is None else f", device {device / 1e9:.3f} GB"
    seconds, host = row["seconds_per_frame"], row["host_bytes"] / 1e9
    _say(f"{what}: {seconds:.4f} s per frame, peak host memory {host:.3f} GB{shown}")


if __name__ == "__main__":
    sys.exit(main())
