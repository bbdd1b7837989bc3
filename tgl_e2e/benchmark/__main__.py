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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tgl_e2e import cli
from tgl_e2e.benchmark import BACKBONES

DTYPES = ("float32", "bfloat16", "float16")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m tgl_e2e.benchmark", description=__doc__)
    add = parser.add_argument
    add("--backbone", default="hiera-t", choices=tuple(BACKBONES), help="default: hiera-t")
    add("--moments", default="auto", choices=("auto", "given"), help="default: auto")
    add("--share", type=int, default=50, metavar="P", help="percent of frames in M+ (default: 50)")
    add("--pool", type=int, default=1, choices=(1, 2), help="memory.pool (default: 1)")
    add(
        "--tam-stride",
        type=int,
        default=1,
        metavar="N",
        help="relevance from every N-th frame (default: 1); 0: none, with given moments",
    )
    add("--dtype", default="float32", choices=DTYPES, help="default: float32")
    add("--official-dtype", choices=DTYPES, help="of SAM2's predictor, where another")
    add("--image-size", type=int, metavar="S", help="default: 1024, and 128 for tiny")
    add("--texts", type=int, default=1, metavar="N", help="expressions at once (default: 1)")
    add("--frames", type=int, default=12, metavar="N", help="of the video (default: 12)")
    add("--rounds", type=int, default=3, metavar="N", help="runs of each, in turns (default: 3)")
    add("--video", metavar="FILE", help="whose first frames are used; default: generated ones")
    add("--device", default="cpu", help="default: cpu")
    add("--threads", type=int, metavar="N", help="of the CPU (default: torch's own choice)")
    add(
        "--lengths",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="also: ours alone on so many frames",
    )
    add(
        "--numbers-of-texts",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="also: ours alone with so many expressions",
    )
    add("--sizes", type=int, nargs="+", default=[], metavar="S", help="also: both at these S")
    add("--no-stages", action="store_true", help="leave out the times by stage and the floor")
    add("--output", metavar="FILE", help="everything as JSON")
    args = parser.parse_args(arguments)
    counts = [
        args.frames,
        args.rounds,
        args.texts,
        args.threads or 1,
        *args.lengths,
        *args.numbers_of_texts,
    ]
    if min(counts) < 1:
        parser.error("numbers of frames, rounds, texts and threads are at least 1")
    if not 1 <= args.share <= 100:
        parser.error("--share is a percentage from 1 to 100")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse_arguments(arguments)
    os.environ["TQDM_DISABLE"] = "1"  # the predictor's own bars
    from tgl_e2e.errors import InputError

    try:
        report = _benchmark(args)
        if args.output:
            Path(args.output).write_text(json.dumps(report, indent=1) + "\n")
    except (InputError, OSError) as error:
        print(f"benchmark: error: {error}", file=sys.stderr)
        return 2
    return 0


def _benchmark(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from tgl_e2e.benchmark.contenders import Official, Ours, generated, network_config, save_frames
    from tgl_e2e.benchmark.measure import bandwidth, matrix_rate

    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    say = _Table()
    report: dict[str, Any] = {
        "settings": {
            **vars(args),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
        },
        "matrix_flops_per_second": matrix_rate(device, getattr(torch, args.dtype)),
        "bytes_per_second": bandwidth(device),
    }
    say.title(_description(args, torch.get_num_threads()))
    say.line(
        f"machine: {report['matrix_flops_per_second'] / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{report['bytes_per_second'] / 1e9:.1f} GB/s in a copy"
    )

    with tempfile.TemporaryDirectory() as folder:
        frames = save_frames(args, Path(folder))
        ours = Ours(args, network_config(args), frames)
        official = Official(args, ours)
        report.update(_compare(args, ours, official, device))
        say.ratio(report)
        if not args.no_stages:
            report["stages"] = {"ours": ours.stages(frames), "official": official.stages()}
            report["floor"] = _floor(ours, report)
            say.stages(report)
        for size in args.sizes:
            ours = Ours(args, network_config(args, size), frames)
            row = _compare(args, ours, Official(args, ours), device)
            report.setdefault("sizes", {})[str(size)] = row
            say.ratio(row, f"S = {size}: ")
    if args.lengths or args.numbers_of_texts:
        ours = Ours(args, network_config(args), generated(args.frames))
    # Ascending, so that what an allocator keeps of one run cannot hide in the next.
    for length in sorted(args.lengths):
        row = _alone(ours, generated(length), args.texts, device)
        report.setdefault("lengths", {})[str(length)] = row
        say.alone(f"{length} frames", row)
    for count in sorted(args.numbers_of_texts):
        row = _alone(ours, generated(args.frames), count, device)
        report.setdefault("numbers_of_texts", {})[str(count)] = row
        say.alone(f"{count} expressions", row)
    return report


def _description(args: argparse.Namespace, threads: int) -> str:
    extra = "".join(
        text
        for on, text in (
            (args.pool > 1, ", memory pooled"),
            (args.tam_stride > 1, f", TAM at stride {args.tam_stride}"),
        )
        if on
    )
    official = args.official_dtype or args.dtype
    return (
        f"{args.backbone}, {args.frames} frames, M+ {args.share} % ({args.moments}), "
        f"{args.texts} text(s){extra}; {args.dtype} against {official}, {args.device}, "
        f"{threads} thread(s)"
    )


def _compare(args: argparse.Namespace, ours: Any, official: Any, device: Any) -> dict[str, Any]:
    """Both in turns; seconds per frame, their ratio by round, and peak memory."""
    from tgl_e2e.benchmark.measure import PeakMemory, synchronize

    seconds: dict[str, list[float]] = {"ours": [], "official": []}
    cpu_seconds: dict[str, list[float]] = {"ours": [], "official": []}
    peaks: dict[str, Any] = {}
    ours.warm_up()
    official.warm_up()
    for turn in range(args.rounds):
        order = [("official", official.run), ("ours", ours.run)]
        for name, run in order if turn % 2 == 0 else order[::-1]:
            with PeakMemory(device) as peak:
                start, cpu_start = time.perf_counter(), time.process_time()
                run()
                synchronize(device)
                seconds[name].append((time.perf_counter() - start) / args.frames)
                cpu_seconds[name].append((time.process_time() - cpu_start) / args.frames)
            peaks[name] = {"host_bytes": peak.host, "device_bytes": peak.device_bytes}
    return {
        "ratio": _ratio(seconds),
        "ours": _spread(seconds["ours"]),
        "official": _spread(seconds["official"]),
        "cpu_ratio": _ratio(cpu_seconds),  # of processor time: steadier where others run too
        "peak_memory": peaks,
    }


def _ratio(values: dict[str, list[float]]) -> dict[str, float]:
    return _spread([a / b for a, b in zip(values["ours"], values["official"], strict=True)])


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _alone(ours: Any, source: Any, texts: int, device: Any) -> dict[str, Any]:
    """Ours on another video or with another number of expressions."""
    from tgl_e2e.benchmark.measure import PeakMemory, synchronize

    with PeakMemory(device) as peak:
        start = time.perf_counter()
        count = ours.run(source, texts)
        synchronize(device)
        seconds = (time.perf_counter() - start) / count
    return {
        "seconds_per_frame": seconds,
        "host_bytes": peak.host,
        "device_bytes": peak.device_bytes,
    }


def _floor(ours: Any, report: dict[str, Any]) -> dict[str, float]:
    """What a frame would take if every product ran at the machine's matrix rate, and reading the
    weights for every window of frames took nothing but bandwidth."""
    flops, traffic = ours.flops_per_frame(), ours.bytes_per_frame()
    return {
        "flops_per_frame": flops,
        "bytes_per_frame": traffic,
        "seconds_per_frame": max(
            flops / report["matrix_flops_per_second"], traffic / report["bytes_per_second"]
        ),
    }


class _Table:
    """What is printed, as it becomes known."""

    def title(self, text: str) -> None:
        print(text, flush=True)

    def line(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def ratio(self, row: dict[str, Any], what: str = "") -> None:
        ratio = row["ratio"]
        self.line(
            f"{what}seconds per frame: ours {row['ours']['median']:.4f}, official "
            f"{row['official']['median']:.4f}; ratio {ratio['median']:.2f} "
            f"({ratio['min']:.2f} to {ratio['max']:.2f}), of processor time "
            f"{row['cpu_ratio']['median']:.2f}"
        )

    def stages(self, report: dict[str, Any]) -> None:
        self.line(f"{'seconds per frame':<22}{'ours':>10}{'official':>10}")
        ours, official = report["stages"]["ours"], report["stages"]["official"]
        for stage, seconds in ours.items():
            theirs = official.get(stage)
            self.line(
                f"  {stage:<20}{seconds:>10.4f}"
                + (f"{theirs:>10.4f}" if theirs is not None else f"{'-':>10}")
            )
        floor = report["floor"]
        self.line(
            f"{'floor':<22}{floor['seconds_per_frame']:>10.4f}  "
            f"({floor['flops_per_frame'] / 1e9:.0f} GFLOP, "
            f"{floor['bytes_per_frame'] / 1e6:.0f} MB per frame)"
        )
        peaks = report["peak_memory"]
        for kind in ("host", "device"):
            values = [peaks[who][f"{kind}_bytes"] for who in ("ours", "official")]
            if None not in values:
                self.line(
                    f"{'peak ' + kind + ' memory, GB':<22}"
                    + "".join(f"{v / 1e9:>10.2f}" for v in values)
                )

    def alone(self, what: str, row: dict[str, Any]) -> None:
        device = row["device_bytes"]
        self.line(
            f"{what}: {row['seconds_per_frame']:.4f} s per frame, peak host memory "
            f"{row['host_bytes'] / 1e9:.3f} GB"
            + ("" if device is None else f", device {device / 1e9:.3f} GB")
        )


if __name__ == "__main__":
    sys.exit(main())
