"""Segments what sentences describe in a video: `python infer.py VIDEO TEXT [TEXT ...]`.

Heavy imports wait until the arguments are parsed and checked, so that --help and most mistakes are
answered at once.
"""

import argparse
import signal
import sys
import warnings
from pathlib import Path

DEFAULT_CHECKPOINT = Path(__file__).resolve().parent / "checkpoints" / "tgl-lite"

NO_TAM = "this network has no TAM: every frame counts (--moments all)"
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif", ".mpg", ".mpeg", ".ts")

DESCRIPTION = """\
Finds in a video what a sentence describes, and when: a mask for every frame.
"""
EPILOG = """\
examples:
  python infer.py dog.mp4 "the dog turning around"
  python infer.py dog.mp4 "the dog that sits down" "the woman walking away" --output results/dog
  python infer.py frames/ "the red car" --moments moments.json --start 100 --end 400 --stride 2

outputs, in the folder --output:
  overlay.mp4            the video with the masks; a label is lit while its sentence is relevant
  masks/<n>/<frame>.png  masks of the n-th sentence (from 0), 255 inside and 0 outside
  result.json            everything found, in numbers (masks as COCO run lengths)
  timeline.png           relevance of every frame, and which frames were taken as relevant

Frames count from 0. Exit status: 0, 2 after a mistake in the input, 130 after Ctrl-C.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    from tgl_e2e import cli

    parser = cli.Parser(prog="infer.py", description=DESCRIPTION, epilog=EPILOG)
    add = parser.add_argument
    add("video", metavar="VIDEO", help="a video file, or a folder of frames")
    add("texts", metavar="TEXT", nargs="+", help="what to find; several at once")
    text = "folder or hub id of a trained network (default: checkpoints/tgl-lite, beside this file)"
    add("--checkpoint", metavar="FOLDER", default=str(DEFAULT_CHECKPOINT), help=text)
    text = "where the results go (default: outputs/<video name>)"
    add("--output", metavar="FOLDER", help=text)

    moments = parser.add_argument_group("which frames show what the text says")
    moments.add_argument(
        "--moments",
        metavar="HOW",
        help="auto: the network decides (default, if it can). all: every frame does. top-k:4: the "
        "4 frames of highest relevance. FILE: intervals from a JSON file, [[start, end], ...] for "
        'all texts or {"text": [[start, end], ...]} or a result.json. FILE+top-k:4: the best 4 '
        "inside them",
    )
    cli.add_decisions(moments)

    add = parser.add_argument_group("part of the video").add_argument
    add("--start", type=int, default=0, metavar="N", help="first frame (default: 0)")
    add("--end", type=int, metavar="N", help="stop before this frame (default: to the end)")
    add("--stride", type=int, default=1, metavar="N", help="every N-th frame (default: 1, all)")

    cli.add_machine(parser.add_argument_group("machine"))
    args = parser.parse_intermixed_args(arguments)  # texts and options in any order
    for text in args.texts:
        if Path(text).suffix.lower() in VIDEO_SUFFIXES and " " not in text:
            parser.error(
                f"{text} looks like a second video; give one video a run, then expressions"
            )
    return args


def run(args: argparse.Namespace) -> None:
    from tgl_e2e.cli import say
    from tgl_e2e.inference.device import choose_device
    from tgl_e2e.inference.output_folder import OutputFolder, write_outputs
    from tgl_e2e.moments import parse_moments
    from tgl_e2e.video.reader import open_video

    moments = args.moments and parse_moments(args.moments)
    source = open_video(args.video)
    source.timed_frames(args.start, args.end, args.stride)  # checks the range, reads nothing yet
    output = Path(args.output) if args.output else Path("outputs") / source.name
    with OutputFolder(output, inputs=[args.video, args.checkpoint]) as folder, _Progress() as show:
        device, dtype = choose_device(args.device, args.dtype)
        from tgl_e2e import TGL, VideoSegmenter  # slow: not before a device is known to be there

        model = TGL.from_pretrained(args.checkpoint, device=device, dtype=dtype)
        if moments is None:
            moments = parse_moments("auto" if model.tam is not None else "all")
            if model.tam is None:
                say("infer.py", NO_TAM)
        segmenter = VideoSegmenter(
            model,
            threshold=args.threshold,
            always_target=args.always_target,
            tam_stride=args.tam_stride,
            progress=show,
        )
        segmentations = segmenter.segment(
            source, args.texts, moments, start=args.start, end=args.end, stride=args.stride
        )
        write_outputs(
            folder, source, segmentations, args.threshold, args.video, args.checkpoint, show
        )
    print(report(segmentations, output))


def report(segmentations: list, output: Path) -> str:
    """What was found and where it lies, for people."""
    from tgl_e2e.moments import inside
    from tgl_e2e.results import mask_area

    lines = []
    for n, found in enumerate(segmentations):
        lines.append(f'{n}: "{found.text}"')
        if not found.moments:
            lines.append("   not found: no frame is relevant, all masks are empty")
            continue
        spans = [f"{start}-{end}" if end > start else f"{start}" for start, end in found.moments]
        more = f" and {len(spans) - 8} more" if len(spans) > 8 else ""
        relevant = int(inside(found.frames, found.moments).sum())
        masked = sum(mask_area(rle) > 0 for rle in found.rle)
        lines.append(
            f"   relevant in {relevant} of {found.num_frames} frames: {', '.join(spans[:8])}{more}"
        )
        lines.append(f"   a mask in {masked} of {found.num_frames} frames")
    last = len(segmentations) - 1
    masks = "masks/0/" if last == 0 else f"masks/0/ to masks/{last}/"
    lines.append(f"{output}/")
    for name, what in (
        ("overlay.mp4", "the masks on the video"),
        (masks, "one PNG per frame"),
        ("result.json", "everything in numbers"),
        ("timeline.png", "relevance over time"),
    ):
        lines.append(f"   {name:<24}{what}")
    return "\n".join(lines)


class _Progress:
    """Progress bar on stderr with frames per second, one per stage."""

    def __enter__(self) -> "_Progress":
        self._bar = self._stage = None
        return self

    def __call__(self, done: int, total: int | None, stage: str) -> None:
        from tqdm import tqdm

        if stage != self._stage:
            self.__exit__()
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, unit="frame", dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _say_warning(message: Warning | str, *rest: object) -> None:
    from tqdm import tqdm

    from tgl_e2e.cli import say

    with tqdm.external_write_mode(file=sys.stderr):  # not into the middle of a progress bar
        say("infer.py", f"warning: {message}")


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    from tgl_e2e import cli

    args = parse_arguments(arguments)

    def command() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # meant for programmers
            warnings.simplefilter("default", UserWarning)  # whatever PYTHONWARNINGS says
            warnings.showwarning = _say_warning
            run(args)

    try:
        return cli.run("infer.py", command)
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        remedy = f"out of memory on --device {args.device}: give fewer texts, or --device cpu"
        cli.say("infer.py", f"error: {remedy}")
        return cli.MISTAKE


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidy up as after Ctrl-C
    sys.exit(main())
