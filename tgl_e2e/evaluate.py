"""Evaluates a checkpoint on a data set: ``python -m tgl_e2e.evaluate --help``.

All expressions of a video run together, so that what they share is computed once. Scores are kept
per (video, expression), never per text, since texts repeat.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tgl_e2e.errors import InputError
from tgl_e2e.moments import MomentsSpec, moments_in_order, parse_moments

if TYPE_CHECKING:
    from tgl_e2e.data.base import VideoDataset, VideoRecord
    from tgl_e2e.data.mevis import MomentsFile
    from tgl_e2e.results import Segmentation

PACKAGES = ("torch", "sam2", "transformers", "numpy", "pycocotools")

# frames, texts and moments of one video -> one result per text
Segment = Callable[[Any, list[str], MomentsSpec], "Sequence[Segmentation]"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 0, 2 for bad input, 130 if interrupted."""
    args = parse_arguments(arguments)
    logging.basicConfig(format="evaluate: %(message)s", level=logging.WARNING)
    try:
        _evaluate(args)
    except InputError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate: interrupted; the same command with --resume goes on", file=sys.stderr)
        return 130
    return 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate",
        description="Segments every expression of a data set and scores masks and moments.",
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="DIR", help="folder (or hub id) of the network")
    add("--dataset", required=True, choices=("motion", "mevis"), help="layout of the data set")
    add("--root", required=True, type=Path, metavar="DIR", help="folder that holds the splits")
    add("--split", default="valid_u", help="which split (default: %(default)s)")
    add(
        "--moments",
        default="auto",
        help="where the relevant frames come from: auto (the network), oracle (the data set), all, "
        "top-k:4, oracle+top-k:4, FILE or FILE+top-k:4; FILE holds intervals, or is of the form "
        "of the data set's moments.json (default: %(default)s)",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="folder for metrics.json etc.")
    add("--threshold", type=probability, default=0.5, metavar="P",
        help="relevance from which a frame counts as relevant (default: %(default)s)")  # fmt: skip
    add("--always-target", action="store_true",
        help="never answer with nothing: without a relevant frame take the 4 best")  # fmt: skip
    add("--max-videos", type=positive, metavar="N", help="only the first N videos")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    add("--save-masks", action="store_true", help="write masks/VIDEO/EXPRESSION/FRAME.png")
    add("--resume", action="store_true", help="go on with an evaluation that was interrupted")
    return parser.parse_args(arguments)


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


def _evaluate(args: argparse.Namespace) -> None:
    # Heavy imports wait until the arguments are known to be right.
    import torch

    from tgl_e2e import TGL, VideoSegmenter, __version__
    from tgl_e2e.report import print_report, report, write_report
    from tgl_e2e.resume import PartialResults

    dataset = read_dataset(args.dataset, args.root, args.split)
    videos = dataset.videos[: args.max_videos]
    moments_of = moments_source(args.moments)
    for video in videos:  # a moments file that does not fit shows now, not after hours
        moments_of(video)
    tags = read_tags(args.root / args.split)

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--device {device}: not to be had ({reason}); try cpu") from None
    model = TGL.from_pretrained(args.checkpoint, device=device)
    segmenter = VideoSegmenter(model, threshold=args.threshold, always_target=args.always_target)

    identity = {
        "checkpoint": fingerprint(args.checkpoint),
        "dataset": args.dataset,
        "root": str(args.root.resolve()),
        "split": args.split,
        "moments": args.moments,
        "threshold": args.threshold,
        "always_target": args.always_target,
        "save_masks": args.save_masks,
    }
    partial = PartialResults(args.output, identity, args.resume)
    try:
        segment_videos(
            lambda frames, texts, moments: segmenter.segment(frames, texts, moments=moments),
            videos,
            moments_of,
            partial,
            tags=tags,
            masks=args.output / "masks" if args.save_masks else None,
        )
        content = report(dataset, videos, partial.finished)
        content["parameters"] = model.parameter_counts()
        content["config"] = {
            "arguments": {k: _plain(v) for k, v in vars(args).items() if k != "resume"},
            "checkpoint_sha256": identity["checkpoint"],
            "model": model.config.to_dict(),
        }
        content["versions"] = {
            "tgl_e2e": __version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        }
        write_report(args.output, content)
    finally:
        partial.close()
    partial.remove()
    print_report(content, args.moments)
    print(f"written to {args.output}")


# The data set's side


def read_dataset(kind: str, root: Path, split: str) -> VideoDataset:
    """Reads a split; InputError if it is not there or not of its layout."""
    from tgl_e2e.data.mevis import read_mevis

    assert kind in ("motion", "mevis"), kind  # `motion` is written in the layout of MeViS
    return read_mevis(root, split, kind)


def moments_source(text: str) -> Callable[[VideoRecord], MomentsSpec]:
    """What `--moments` means, as a function of the video; InputError for anything unknown."""
    match = re.fullmatch(r"oracle(?:\+top-k:([1-9][0-9]*))?", text)
    if match:
        k = int(match[1]) if match[1] else None
        return lambda video: _oracle(video, k)
    match = re.fullmatch(r"(.+?)(?:\+top-k:([1-9][0-9]*))?", text)
    if match and _is_per_video(Path(match[1])):  # as a moment retriever would write them
        k = int(match[2]) if match[2] else None
        from tgl_e2e.data.mevis import MomentsFile

        file = MomentsFile(Path(match[1]))
        return lambda video: _given(video, file, k)
    spec = parse_moments(text)
    return lambda video: spec


def _oracle(video: VideoRecord, k: int | None) -> MomentsSpec:
    given = [e.intervals(video.num_frames) for e in video.expressions]
    if None in given:
        raise InputError(f"--moments oracle: the moments of video {video.name} are not known; "
                         f"put moments.json beside meta_expressions.json")  # fmt: skip
    return moments_in_order(given, k)


def _given(video: VideoRecord, file: MomentsFile, k: int | None) -> MomentsSpec:
    by_object = [file.of(video.name, e.id, video.num_frames) for e in video.expressions]
    return moments_in_order([sorted(set(sum(m.values(), ()))) for m in by_object], k)


def _is_per_video(path: Path) -> bool:
    """Whether a file holds intervals per video and expression, like moments.json; a file that
    cannot be read is left to whoever reads it."""
    try:
        return "videos" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_tags(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What a split's scenes.json says of its expressions, {video: {expression: tags}}; {} without.

    Only made data knows this: the level of difficulty, the kind of an expression, whether its
    words about appearance alone pick the target, and the cues without which they do not.
    """
    path = folder / "scenes.json"
    if not path.is_file():
        return {}
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            video: {
                key: {
                    "level": content["level"],
                    "kind": e["kind"],
                    "appearance_decides": e["appearance_decides"],
                    "cues": list(e["cues"]),
                }
                for key, e in content["expressions"].items()
            }
            for video, content in videos.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: not of the form that the generator writes; "
                         f"write the split again, or remove it") from None  # fmt: skip


# The loop


def segment_videos(
    segment: Segment,
    videos: Sequence[VideoRecord],
    moments_of: Callable[[VideoRecord], MomentsSpec],
    partial: Any,
    tags: Mapping[str, Mapping[str, Mapping[str, Any]]],
    masks: Path | None = None,
) -> None:
    """Segments and scores every video that `partial` does not hold yet, and adds it there.

    Args:
        segment: frames, texts and moments of one video -> one Segmentation per text.
        tags: see `read_tags`.
        masks: folder for the masks as PNG; None: they are not written.
    """
    from tqdm import tqdm

    from tgl_e2e.report import save_masks
    from tgl_e2e.scores import score_expression

    rest = [video for video in videos if video.name not in partial.finished]
    # Time goes with frames times expressions, so that is what the bar counts.
    with tqdm(total=sum(_work(video) for video in rest), unit="frame", smoothing=0.1) as bar:
        for video in rest:
            bar.set_postfix_str(video.name)
            start = time.perf_counter()
            texts = [expression.text for expression in video.expressions]
            results = segment(video.pictures, texts, moments_of(video)) if texts else []
            seconds = time.perf_counter() - start
            assert len(results) == len(texts), (video.name, len(results), len(texts))
            scores = []
            for expression, result in zip(video.expressions, results, strict=True):
                known = tags.get(video.name, {}).get(expression.id)
                scores.append(
                    score_expression(video.name, expression, result, video.num_frames, known)
                )
                if masks is not None:
                    save_masks(masks / video.name / expression.id, video, result)
            partial.add(
                video.name,
                {
                    "scores": [score.to_dict() for score in scores],
                    "frames": video.num_frames,
                    "seconds": seconds,
                },
            )
            bar.update(_work(video))


def _work(video: VideoRecord) -> int:
    return video.num_frames * len(video.expressions)


def fingerprint(checkpoint: str) -> str:
    """SHA-256 over a checkpoint folder's configuration and weights; the id itself for a hub id."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return checkpoint
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    sys.exit(main())
