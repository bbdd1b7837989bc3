"""Segments every expression of a data set and scores masks and moments.

    python -m tgl_e2e.evaluate --checkpoint DIR --dataset mevis --root DIR --output DIR
    accelerate launch --num_processes 4 -m tgl_e2e.evaluate --checkpoint ... --dataset mevis ...

The second shares the videos out over processes. All expressions of a video run together, so that
what they share is computed once. Scores are kept per (video, expression), never per text, since
texts repeat; the numbers do not depend on how many processes there are, nor on how often they were
killed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgl_e2e import cli
from tgl_e2e.evaluation.modes import check_moments, check_texts, do_without_tam, moments_source
from tgl_e2e.evaluation.processes import join, on_main, share_out, work_of
from tgl_e2e.evaluation.provenance import decisive, fingerprint, training_of, versions
from tgl_e2e.inference.device import dtype_of

if TYPE_CHECKING:
    from tgl_e2e.data.base import VideoDataset, VideoRecord

PROG = "evaluate"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, 2 for bad input, 130 if interrupted."""
    args = parse_arguments(arguments)
    level = logging.WARNING if cli.is_main_process() else logging.ERROR
    logging.basicConfig(format="evaluate: %(message)s", level=level)
    again = "the same command with --resume goes on"
    return cli.run(PROG, lambda: Evaluation(args).run(), again)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    from tgl_e2e.data.datasets import DATASETS

    parser = cli.Parser(prog=PROG, description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="folder (or hub id) of the network")
    add("--dataset", required=True, choices=DATASETS, help="layout of the data set")
    add("--root", required=True, type=Path, metavar="DIR", help="folder that holds the splits")
    defaults = "valid_u; valid of ref-youtube-vos and ref-davis, val of refcoco"
    add("--split", help=f"which split (default: {defaults})")
    add(
        "--moments",
        help="where the relevant frames come from: auto (the network), oracle (the data set), all, "
        "top-k:4, oracle+top-k:4, FILE or FILE+top-k:4; FILE holds intervals, or is of the form "
        "of the data set's moments.json (default: auto; all for refcoco, which has single images)",
    )
    written = "folder for metrics.json, per_expression.csv and masks/"
    add("--output", required=True, type=Path, metavar="DIR", help=written)
    cli.add_decisions(parser)
    cli.add_machine(parser)
    add("--max-videos", type=cli.positive, metavar="N", help="only the first N videos")
    text = "of each process on a CPU; with 1 the numbers are the same to the last digit however "
    text += "many processes there are: rather start one per core (default: %(default)s)"
    add("--threads", type=cli.positive, default=1, metavar="N", help=text)
    add("--no-masks", action="store_true", help="write no masks, only scores")
    text = "also pack the masks into the zip that the data set's server takes"
    add("--submission", type=Path, metavar="ZIP", help=text)
    add("--resume", action="store_true", help="go on with an evaluation that was interrupted")
    args = parser.parse_args(arguments)
    if args.submission is not None and args.no_masks:
        parser.error("--submission needs the masks: leave --no-masks out")
    args.split = args.split or DATASETS[args.dataset].split
    args.moments_given = args.moments is not None
    args.moments = args.moments or DATASETS[args.dataset].moments
    return args


class Evaluation:
    """One run of the command in one of its processes.

    Raises:
        InputError: anything is wrong with the arguments; before any video is looked at.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        # Heavy imports wait until the arguments are known to be right.
        import torch

        from tgl_e2e import TGL, VideoSegmenter
        from tgl_e2e.data.datasets import DATASETS, read_dataset
        from tgl_e2e.evaluation.resume import PartialResults
        from tgl_e2e.evaluation.tags import read_scenes

        self.args = args
        self.dataset: VideoDataset = read_dataset(args.dataset, args.root, args.split)
        self.videos = self.dataset.videos[: args.max_videos]
        moments_source(args.moments)  # refuses what it does not know, before the network is read
        self.scenes = read_scenes(args.root / args.split)
        self.state, device = join(args.device, args.threads)
        args.dtype = dtype_of(args.dtype, device)
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
        self.segmenter = VideoSegmenter(
            self.model,
            threshold=args.threshold,
            always_target=args.always_target,
            tam_stride=args.tam_stride,
            keep_logits=DATASETS[args.dataset].label_maps,
        )
        self.checkpoint = fingerprint(args.checkpoint)
        identity = {**decisive(vars(args), self.checkpoint), "masks": not args.no_masks}
        self.partial = PartialResults(args.output, identity)
        on_main(self.state, lambda: self.partial.begin(args.resume))

    def run(self) -> None:
        """Segments this process's share; the main process then writes the report."""
        from tqdm import tqdm

        state = self.state
        try:
            finished = self.partial.read()
            rest = [video for video in self.videos if video.name not in finished]
            share = share_out(rest, state.num_processes)[state.process_index]
            state.wait_for_everyone()  # all have read before any of them writes
            total = sum(work_of(video) for video in share)
            with tqdm(total=total, unit="frame", disable=not state.is_main_process) as bar:
                for video in share:
                    self.partial.add(video.name, self._evaluate(video))
                    bar.set_postfix_str(video.name, refresh=False)
                    bar.update(work_of(video))
            state.wait_for_everyone()
            if state.is_main_process:
                self._report()
        finally:
            self.partial.close()

    def _evaluate(self, video: VideoRecord) -> dict[str, Any]:
        """Segments and scores a video, and writes its masks; what the report is made of."""
        from tgl_e2e.data.datasets import DATASETS
        from tgl_e2e.evaluation.davis import match_objects, separate_objects
        from tgl_e2e.evaluation.scores import score_expression
        from tgl_e2e.evaluation.submission import save_masks
        from tgl_e2e.evaluation.tags import tags_of

        args, start, results = self.args, time.perf_counter(), []
        if video.expressions:
            texts = [e.text for e in video.expressions]
            results = self.segmenter.segment(video.pictures, texts, moments=self.moments_of(video))
        outcome = {"frames": video.num_frames, "seconds": time.perf_counter() - start}
        if DATASETS[args.dataset].label_maps:
            results = separate_objects(video, results)
            outcome["matched"] = match_objects(video, results)
        scores = []
        for expression, result in zip(video.expressions, results, strict=True):
            score = score_expression(video.name, expression, result, video.num_frames)
            if args.tam_stride == 0:  # relevance only repeats the moments that were given
                score = replace(score, top1=None, chance=None, windows=[], truth=None)
            score.tags.update(tags_of(video, expression, self.scenes, score.target_size))
            scores.append(asdict(score))
        if not args.no_masks:
            save_masks(args.output / "masks", args.dataset, video, results)
        return {"scores": scores, **outcome}

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
        content["timing"]["processes"] = self.state.num_processes
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


if __name__ == "__main__":
    sys.exit(main())
