"""How the videos of a written set are recorded: size, frame rate, background, codec."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import av
import numpy as np

from .render import Rendered, render
from .scene import Scene, Span

SMALLEST, LARGEST = 32, 4096  # sides of frames


@dataclass(frozen=True)
class Recording:
    """What a network has to cope with beyond what it was trained on.

    size: (H, W) of the frames. num_frames: length of the videos; None: the level's own. every: only
    every n-th frame is kept, which makes things n times as fast. crf: constant rate factor of H.264
    (51 is the worst) that the frames go through; None: none. clutter: dead leaves as background.
    other_sizes: which videos have in turn with `size`.
    """

    size: tuple[int, int] = (256, 256)
    num_frames: int | None = None
    every: int = 1
    crf: int | None = None
    clutter: bool = False
    other_sizes: tuple[tuple[int, int], ...] = ()

    def spans(self, spans: Sequence[Span]) -> list[Span]:
        """Moments in the numbers of the kept frames; one that falls between two of them is lost."""
        kept = [(-(-start // self.every), end // self.every) for start, end in spans]
        return [(start, end) for start, end in kept if start <= end]


AS_DRAWN = Recording()


def record(scene: Scene, recording: Recording) -> Rendered:
    """The kept frames of a scene, through the codec if there is one; masks stay exact."""
    frames = range(0, scene.num_frames, recording.every)
    sizes = recording.size, *recording.other_sizes
    if recording.clutter:
        scene = replace(scene, background=replace(scene.background, kind="leaves"))
    drawn = render(scene, frames, sizes[scene.seed % len(sizes)])
    if recording.crf is None:
        return drawn
    return Rendered(through_h264(drawn.rgb, recording.crf), drawn.ids)


def through_h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """(T, H, W, 3) uint8, H and W even, encoded and decoded again."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as writer:
        stream = writer.add_stream("libx264", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Its frames depend on the number of threads, and with mbtree they differ from run to run.
        stream.thread_count = 1
        stream.options = {"crf": str(crf), "x264-params": "mbtree=0"}
        for rgb in frames:
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        writer.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer) as reader:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)])
