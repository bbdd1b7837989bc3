"""Evaluates a checkpoint on a data set: ``python -m tgl_e2e.evaluate --help``.

    accelerate launch --num_processes 4 -m tgl_e2e.evaluate --checkpoint ... --dataset mevis ...

shares the videos out over processes. All expressions of a video run together, so that what they
share is computed once. Scores are kept per (video, expression), never per text, since texts repeat;
the numbers do not depend on how many processes there are, nor on how often they were killed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.modes import (
    check_moments,
    check_texts,
    default_moments,
    default_split,
    do_without_tam,
    moments_source,
)
from tgl_e2e.evaluation.processes import Processes, process_index, share_out, work_of
from tgl_e2e.evaluation.provenance import decisive, dtype_of, fingerprint, training_of, versions

if TYPE_CHECKING:
    from tgl_e2e.data.base import VideoDataset, VideoRecord
    from tgl_e2e.evaluation.progress import ProgressBar
    from tgl_e2e.evaluation.resume import PartialResults
    from tgl_e2e.results import Segmentation

PROG = "evaluate"
DESCRIPTION = """Segments every expression of a data set and scores masks and moments. Run by
`accelerate launch -m tgl_e2e.evaluate` it shares the videos out over processes."""
# a video -> one result per expression
Segment = Callable[["VideoRecord"], "Sequence[Segmentation]"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, 2 for bad input, 130 if interrupted."""
    args = parse_arguments(arguments)
    level = logging.WARNING if process_index() == 0 else logging.ERROR
    logging.basicConfig(format="evaluate: %(message)s", level=level)
    try:
        evaluation = Evaluation(args)
    except InputError as error:  # the same in all processes
        if process_index() == 0:
            cli.say(PROG, f"error: {error}")
        return cli.MISTAKE
    return cli.run(PROG, evaluation.run, "the same command with --resume goes on")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    from tgl_e2e.data.datasets import DATASETS

    parser = cli.Parser(prog=PROG, description=DESCRIPTION)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="folder (or hub id) of the network")
    add("--dataset", required=True, choices=DATASETS, help="layout of the data set")
    add("--root", required=True, type=Path, metavar="DIR", help="folder that holds the splits")
    add(
        "--split",
        help="which split (default: valid_u; valid of ref-youtube-vos and ref-davis, "
        "val of refcoco)",
    )
    add(
        "--moments",
        help="where the relevant frames come from: auto (the network), oracle (the data set), all, "
        "top-k:4, oracle+top-k:4, FILE or FILE+top-k:4; FILE holds intervals, or is of the form "
        "of the data set's moments.json (default: auto; all for refcoco, which has single images)",
    )
    add(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for metrics.json, per_expression.csv and masks/",
    )
    add(
        "--threshold",
        type=probability,
        default=0.5,
        metavar="P",
        help="relevance from which a frame counts as relevant (default: %(default)s)",
    )
    add(
        "--always-target",
        action="store_true",
        help="never answer with nothing: without a relevant frame take the 4 best",
    )
    add(
        "--dtype",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="precision; auto (default) is bfloat16 on cuda and float32 elsewhere",
    )
    add(
        "--tam-stride",
        type=int,
        default=1,
        metavar="N",
        help="relevance from every N-th frame, interpolated; 0: none, where --moments need none "
        "(default: %(default)s, every frame)",
    )
    add("--max-videos", type=positive, metavar="N", help="only the first N videos")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    add(
        "--threads",
        type=positive,
        default=1,
        metavar="N",
        help="of each process on a CPU; with 1 the numbers are the same to the last digit however "
        "many processes there are: rather start one per core (default: %(default)s)",
    )
    add("--no-masks", action="store_true", help="write no masks, only scores")
    add(
        "--submission",
        type=Path,
        metavar="ZIP",
        help="also pack the masks into the zip that the data set's server takes",
    )
    add("--resume", action="store_true", help="go on with an evaluation that was interrupted")
    args = parser.parse_args(arguments)
    if args.submission is not None and args.no_masks:
        parser.error("--submission needs the masks: leave --no-masks out")
    args.split = args.split or default_split(args.dataset)
    args.moments_given = args.moments is not None
    args.moments = args.moments or default_moments(args.dataset)
    return args


def probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


class Evaluation:
    """One run of the command in one of its processes.

    Raises:
        InputError: anything is wrong with the arguments; before any video is looked at.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        # Heavy imports wait until the arguments are known to be right.
        import torch

        from tgl_e2e import TGL, VideoSegmenter
        from tgl_e2e.data.datasets import read_dataset
        from tgl_e2e.evaluation.resume import PartialResults
        from tgl_e2e.evaluation.tags import read_scenes

        self.args = args
        self.dataset: VideoDataset = read_dataset(args.dataset, args.root, args.split)
        self.videos = self.dataset.videos[: args.max_videos]
        moments_source(args.moments)  # refuses what it does not know, before the network is read
        self.scenes = read_scenes(args.root / args.split)
        self.processes = Processes(args.device, args.threads)
        device, args.dtype = self.processes.device, dtype_of(args.dtype, self.processes.device)
        self.model = TGL.from_pretrained(
            args.checkpoint, device=device, dtype=getattr(torch, args.dtype)
        )
        if self.model.tam is None:
            do_without_tam(args)
        del args.moments_given
        self.moments_of = moments_source(args.moments)
        check_moments(args.moments, self.videos)
        check_texts(self.videos, self.model.text.check)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        segmenter = VideoSegmenter(
            self.model,
            threshold=args.threshold,
            always_target=args.always_target,
            tam_stride=args.tam_stride,
            keep_logits=args.dataset == "ref-davis",
        )
        self.segment: Segment = lambda video: segmenter.segment(
            video.pictures, [e.text for e in video.expressions], moments=self.moments_of(video)
        )
        self.checkpoint = fingerprint(args.checkpoint)
        self.partial = PartialResults(args.output, self._identity(), self.processes.index)
        self.processes.main_first(lambda: self.partial.begin(args.resume))

    def _identity(self) -> dict[str, Any]:
        """What results depend on."""
        return {
            **decisive(vars(self.args)),
            "checkpoint": self.checkpoint,
            "masks": not self.args.no_masks,
        }

    def run(self) -> None:
        """Segments this process's share; the main process then writes the report."""
        try:
            finished = self.partial.read()
            rest = [video for video in self.videos if video.name not in finished]
            share = share_out(rest, self.processes.count)[self.processes.index]
            bar = self._progress_bar(sum(work_of(video) for video in rest))
            self.processes.wait()  # all have read before any of them writes
            try:
                segment_videos(
                    self.segment,
                    self.args.dataset,
                    share,
                    self.partial,
                    self.scenes,
                    None if self.args.no_masks else self.args.output / "masks",
                    bar,
                    scored=self.args.tam_stride > 0,
                )
                self.processes.wait()
            finally:
                bar.close()
            if self.processes.is_main:
                self._report()
        finally:
            self.partial.close()
            self.partial.undo_begin()

    def _progress_bar(self, work: int) -> ProgressBar:
        from tgl_e2e.evaluation.progress import ProgressBar

        others = [self.partial.path_of(n) for n in range(1, self.processes.count)]
        return ProgressBar(work, others, shown=self.processes.is_main)

    def _report(self) -> None:
        from tgl_e2e.evaluation.report import print_report, report, write_report
        from tgl_e2e.evaluation.submission import write_submission

        args = self.args
        if args.submission is not None:
            write_submission(args.submission, args.output / "masks", args.dataset, self.videos)
        content = report(self.dataset, self.videos, self.partial.read())
        content["parameters"] = self.model.parameter_counts()
        content["config"] = self._config()
        content["versions"] = versions()
        content["timing"]["processes"] = self.processes.count
        write_report(args.output, content)
        self.partial.remove()
        print_report(content, args.moments)
        print(f"written to {args.output}")

    def _config(self) -> dict[str, Any]:
        """All that the numbers come from; where they are written and on what is no part of it."""
        unimportant = ("output", "submission", "resume", "device")
        arguments = {k: v for k, v in vars(self.args).items() if k not in unimportant}
        return {
            "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()},
            "checkpoint_sha256": self.checkpoint,
            "model": self.model.config.to_dict(),
            "training": training_of(self.args.checkpoint),
        }


def segment_videos(
    segment: Segment,
    dataset: str,
    videos: Sequence[VideoRecord],
    partial: PartialResults,
    scenes: Mapping[str, Mapping[str, Any]],
    masks: Path | None,
    bar: ProgressBar,
    scored: bool = True,
) -> None:
    """Segments and scores videos, and adds each to `partial` once it is finished.

    Args:
        segment: a video -> one Segmentation per expression.
        scenes: see `tags.read_scenes`.
        masks: folder for the masks as PNG; None: they are not written.
        scored: whether the network's TAM gave the relevance, so that moments can be scored.
    """
    from tgl_e2e.evaluation.davis import match_objects, separate_objects
    from tgl_e2e.evaluation.scores import score_expression
    from tgl_e2e.evaluation.submission import save_masks
    from tgl_e2e.evaluation.tags import tags_of

    for video in videos:
        start = time.perf_counter()
        results = segment(video) if video.expressions else []
        seconds = time.perf_counter() - start
        assert len(results) == len(video.expressions), (video.name, len(results))
        outcome: dict[str, Any] = {}
        if dataset == "ref-davis":
            results = separate_objects(video, results)
            outcome["matched"] = match_objects(video, results)
        scores = []
        for n, result in enumerate(results):
            expression = video.expressions[n]
            score = score_expression(video.name, expression, result, video.num_frames)
            if not scored:  # relevance only repeats the moments that were given
                score = replace(score, top1=None, chance=None, windows=[], truth=None)
            score.tags.update(tags_of(video, expression, scenes, score.target_size))
            scores.append(score.to_dict())
        if masks is not None:
            save_masks(masks, dataset, video, results)
        outcome |= {"scores": scores, "frames": video.num_frames, "seconds": seconds}
        partial.add(video.name, outcome)
        bar.update(work_of(video), video.name)


if __name__ == "__main__":
    sys.exit(main())
