"""Segments one video of any length; the network itself keeps no state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tgl_e2e.errors import InputError
from tgl_e2e.fit import Fit
from tgl_e2e.inference.block_encoder import Chooser, every_frame
from tgl_e2e.inference.block_reader import Block, Progress
from tgl_e2e.inference.collected import Collected
from tgl_e2e.inference.prefetch import behind
from tgl_e2e.inference.video_pass import Job, PassOptions, VideoPass
from tgl_e2e.model.tgl import TGL
from tgl_e2e.moments import check_inside, inside, parse_moments
from tgl_e2e.results import FrameResult, Segmentation
from tgl_e2e.video.reader import open_video
from tgl_e2e.video.source import VideoSource

FEATURE_BYTES = 2 * 2**30  # of the features of one block, for all sentences at once
ALWAYS_TARGET_FRAMES = 4  # M+ of always_target where no frame passes the threshold


class VideoSegmenter:
    """Runs the network over a video.

    Args:
        model: the network; it is put into eval mode.
        threshold: a frame is M+ where its relevance reaches this.
        always_target: where no frame does, take the 4 best frames as M+ instead of answering with
            empty masks.
        batch_frames: M- frames that are decoded at once (trunk and adapters go by window).
        max_texts: sentences that run side by side; more are done one group after the other. By
            default as many as keep the features of a block within 2 GB.
        tam_stride: the TAM scores every n-th frame; between them relevance is interpolated, and M-
            frames cost one pass of the trunk. 0, only with ``all`` or given intervals: no scores
            at all, and a frame's relevance is whether it is M+.
        progress: called with (frames done, frames in all or None, stage).
        keep_logits: also hand out the mask logits, 2 bytes for each of (S/4)^2 places a frame.
    """

    def __init__(
        self,
        model: TGL,
        threshold: float = 0.5,
        always_target: bool = False,
        batch_frames: int = 8,
        max_texts: int | None = None,
        tam_stride: int = 1,
        progress: Progress | None = None,
        keep_logits: bool = False,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold {threshold} is no probability; give one from 0 to 1")
        if batch_frames < 1 or (max_texts is not None and max_texts < 1):
            raise InputError("batch_frames and max_texts must be at least 1")
        if not 0 <= tam_stride <= model.config.block:
            raise InputError(
                f"tam_stride {tam_stride}: give 1 (every frame) to "
                f"{model.config.block} (one of a block), or 0 for no scores"
            )
        if next(model.parameters()).dtype != torch.float32:  # after .half() or .to(dtype)
            raise InputError(
                "the network's weights are not float32; leave them so, and give the precision to "
                "compute in: TGL.from_pretrained(folder, dtype=torch.float16)"
            )
        self.model = model.eval()  # dropout has no place here
        self.fit = Fit.of(model)
        self.threshold = threshold
        self.always_target = always_target
        self.batch_frames = batch_frames
        self.max_texts = max_texts or texts_at_once(model)
        self.tam_stride = tam_stride if model.tam is not None else 0
        self.progress = progress or (lambda done, total, stage: None)
        self.keep_logits = keep_logits

    def segment(
        self,
        video: Any,
        texts: Sequence[str],
        moments: Any = "auto",
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
    ) -> list[Segmentation]:
        """Masks of each sentence in every frame.

        Args:
            video: path of a file or of a folder of frames, (T, H, W, 3) uint8 array or tensor,
                sequence of arrays or PIL images, or a VideoSource.
            texts: N sentences.
            moments: ``auto``, ``all``, ``top-k:4``, intervals, a JSON file of intervals, or
                ``FILE+top-k:4``; see :mod:`tgl_e2e.moments`.
            start, end, stride: frames to process (end exclusive).

        Returns:
            N segmentations, in the order of ``texts``.

        Raises:
            InputError: whatever is wrong with video, texts or moments.
        """
        job = self._open(video, texts, moments, (start, end, stride))
        results = [found for group in self._groups(job) for found in self._segment_group(group)]
        _check_inside(job)  # a file's length is known once it is read
        return results

    def relevance(self, video: Any, texts: Sequence[str]) -> np.ndarray:
        """(N, T) float32: how well each frame shows what each of N sentences says; no masks.

        Raises:
            InputError: as `segment` does; also for a network without TAM.
        """
        rows = []
        for group in self._groups(self._open(video, texts, "auto", (0, None, 1))):
            blocks = self._pass(group).scores()
            rows.append(np.concatenate([block.relevance for block in blocks], axis=1))
        return np.concatenate(rows)

    def stream(
        self,
        video: Any,
        texts: Sequence[str],
        moments: Any = "auto",
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
    ) -> Iterator[FrameResult]:
        """Yields each frame's masks one block behind, reading the video once.

        Frames before the first block with anything to remember come out empty: their masks would
        need the future. For the same reason memory begins at the first M+ frame, whatever
        ``memory.anchor`` says.

        Raises:
            InputError: also for ``top-k`` and ``always_target``, which need the whole video first.
        """
        job = self._open(video, texts, moments, (start, end, stride))
        if job.spec.k is not None or self.always_target:
            raise InputError(
                "stream: top-k and always_target need the scores of the whole video; use segment"
            )
        return self._stream(job)

    def _stream(self, job: Job) -> Iterator[FrameResult]:
        for block in self._pass(job).blocks(self._chooser(job)):
            for i, number in enumerate(block.numbers):
                masks = self.fit.to_size(block.logits[:, i], job.source.size)
                yield FrameResult(int(number), masks, block.relevance[:, i])
        _check_inside(job)

    # --- one group of sentences ------------------------------------------------------------

    def _open(
        self, video: Any, texts: Sequence[str], moments: Any, frames: tuple[int, int | None, int]
    ) -> Job:
        if isinstance(texts, str) or not texts:
            raise InputError("texts: give a list of at least one sentence")
        self.model.text.tokenize(list(texts))  # raises before any frame is read
        spec = parse_moments(moments)
        if not self.tam_stride and spec.kind not in ("all", "intervals"):
            if self.model.tam is None:
                raise InputError(
                    f"moments {spec.kind!r} need a TAM, and this network has none: use 'all' or "
                    "give intervals, or train one (train.py --stage video --init, "
                    "model.tam.enabled=true)"
                )
            raise InputError(f"tam_stride 0: moments {spec.kind!r} need scores; give 1 or more")
        source = video if isinstance(video, VideoSource) else open_video(video)
        intervals = None if spec.intervals is None else spec.intervals_for(texts)
        job = Job(source, list(texts), frames, spec, intervals)
        _check_inside(job)
        return job

    def _groups(self, job: Job) -> Iterator[Job]:
        """Expressions that run side by side."""
        places = range(len(job.texts))
        for first in places[:: self.max_texts]:
            yield job.only(places[first : first + self.max_texts])

    def _segment_group(self, job: Job) -> list[Segmentation]:
        found, auto = Collected(job, self.fit, self.keep_logits), job.spec.kind == "auto"
        if job.spec.k is None:
            self._collect(job, self._chooser(job), found, anchored=auto)
            lost = np.flatnonzero(~found.joined("relevant").any(axis=1))
            if self.always_target and auto and len(lost):
                self._segment_best(job, lost, ALWAYS_TARGET_FRAMES, found)
        else:
            for block in self._pass(job).scores():
                found.add(block)
            self._segment_best(job, range(len(job.texts)), job.spec.k, found)
        found.clear_what_was_not_found()
        return found.segmentations()

    def _segment_best(self, job: Job, chosen: Sequence[int], k: int, found: Collected) -> None:
        """Second pass over the video: M+ are the k frames that scored highest in the first."""
        job, numbers = job.only(chosen), found.joined("numbers")
        best = np.zeros((len(chosen), len(numbers)), dtype=bool)
        for row, relevance in enumerate(found.joined("relevance")[chosen]):
            allowed = np.ones(len(numbers), bool)
            if job.intervals is not None:
                allowed = inside(numbers, job.intervals[row])
            ranked = np.argsort(np.where(allowed, -relevance, np.inf), kind="stable")
            best[row, ranked[: min(k, allowed.sum())]] = True
        second = Collected(job, self.fit, self.keep_logits)
        self._collect(job, lambda block, _: best[:, block.index : block.index + len(block)], second)
        found.replace(chosen, second)

    def _collect(self, job: Job, choose: Chooser, found: Collected, anchored: bool = False) -> None:
        run = self._pass(job, anchored)
        behind(found.add, run.blocks(choose))
        behind(found.fill, run.earlier_blocks())

    def _pass(self, job: Job, anchored: bool = False) -> VideoPass:
        options = PassOptions(self.batch_frames, self.tam_stride, self.progress, self.always_target)
        return VideoPass(self.model, job, options, anchored)

    def _chooser(self, job: Job) -> Chooser:
        def choose(block: Block, relevance: np.ndarray) -> np.ndarray:
            if job.spec.kind == "all":
                return every_frame(block, relevance)
            if job.intervals is not None:
                return np.stack([inside(block.numbers, given) for given in job.intervals])
            return relevance >= self.threshold

        return choose


def _check_inside(job: Job) -> None:
    """InputError where given intervals lie outside of a video whose length is known."""
    if job.intervals is not None and job.source.num_frames is not None:
        check_inside(job.spec, job.source.num_frames, job.texts)


def texts_at_once(model: TGL) -> int:
    """Sentences whose F_Adp of a whole block fits into FEATURE_BYTES, were every frame M+."""
    side, dim = model.config.vision.image_size // 16, model.vision.dim
    values = side * side * (dim + 4 * dim // 4)  # at strides 16 and 8; stride 4 is shared
    size = values * model.compute_dtype.itemsize * model.config.block
    return max(1, min(16, FEATURE_BYTES // size))
