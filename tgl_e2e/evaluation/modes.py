"""What `--moments` means for the videos of a data set."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tgl_e2e.data.base import VideoRecord
from tgl_e2e.errors import InputError
from tgl_e2e.moments import MomentsSpec, moments_in_order, parse_moments

if TYPE_CHECKING:
    from tgl_e2e.data.moments_json import MomentsFile

LOGGER = logging.getLogger(__name__)


def do_without_tam(args: argparse.Namespace) -> None:
    """Arguments for a network that has none: nothing to score, and every frame counts unless
    moments were asked for."""
    args.tam_stride = 0
    if not args.moments_given:
        args.moments = "all"
        LOGGER.warning("this network has no TAM: every frame counts (--moments all)")


def moments_source(text: str) -> Callable[[VideoRecord], MomentsSpec]:
    """What `--moments` means, as a function of the video; InputError for anything unknown."""
    match = re.fullmatch(r"(.+?)(?:\+top-k:([1-9][0-9]*))?", text)
    source, k = (match[1], match[2] and int(match[2])) if match else (text, None)
    if source == "oracle":
        return lambda video: _oracle(video, k)
    if match and _is_per_video(Path(source)):  # as a moment retriever would write them
        from tgl_e2e.data.moments_json import MomentsFile

        file = MomentsFile(Path(source))
        return lambda video: _given(video, file, k)
    spec = parse_moments(text)
    return lambda video: spec


def check_moments(text: str, videos: Sequence[VideoRecord]) -> None:
    """InputError if `--moments` does not fit a video: now, and not after hours. Moments that are
    taken from masks are not looked up for this."""
    moments_of = moments_source(text)
    for video in videos:
        if not text.startswith("oracle"):
            moments_of(video)
        elif any(expression.moments is None for expression in video.expressions):
            raise _unknown(video)


def check_texts(videos: Sequence[VideoRecord], check: Callable[[list[str]], object]) -> None:
    """InputError that names the first expression which the network cannot take: now, and not after
    hours.

    Args:
        check: :meth:`tgl_e2e.model.text.TextEncoder.check`.
    """
    for video in videos:
        for expression in video.expressions:
            try:
                check([expression.text])
            except InputError as error:
                raise InputError(
                    f"video {video.name}, expression {expression.id}: {error}"
                ) from None


def _unknown(video: VideoRecord) -> InputError:
    return InputError(
        f"--moments oracle: the moments of video {video.name} are not known; "
        f"put moments.json beside meta_expressions.json"
    )


def _oracle(video: VideoRecord, k: int | None) -> MomentsSpec:
    given = [e.intervals(video.num_frames) for e in video.expressions]
    if None in given:
        raise _unknown(video)
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
