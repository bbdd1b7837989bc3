"""The output folder of one run: all of it, or nothing."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tgl_e2e.draw import THUMBNAIL_SIDE, draw_timeline, overlay_of, spread
from tgl_e2e.errors import InputError
from tgl_e2e.files import locked
from tgl_e2e.inference.prefetch import ahead, behind
from tgl_e2e.results import Segmentation, decode_mask, write_result_json
from tgl_e2e.video.source import Frame, VideoSource
from tgl_e2e.video.writer import VideoWriter

OVERLAY, MASKS, RESULT, TIMELINE = "overlay.mp4", "masks", "result.json", "timeline.png"
OURS = (OVERLAY, MASKS, RESULT, TIMELINE)
_THUMBNAILS = 6
FRAMES_AHEAD = 4  # decoded frames that wait to be drawn on, at most

Progress = Callable[[int, int | None, str], None]


class OutputFolder:
    """Context manager: gives a temporary folder to write into, on the disk of ``path``; moves what
    is there to ``path`` at the end, or after an error removes it and every folder made for it.

    ``path`` must be new, empty, or the output of an earlier run (it has a result.json): of such a
    one the four outputs are replaced, and what else lies there stays. What is finished is never
    removed: where ``path`` has become something else meanwhile, it stays beside it.

    Args:
        path: the output folder.
        inputs: files and folders that are read, which must not be among those replaced.

    Raises:
        InputError: on entering, before any work is done: ``path`` cannot be written, or another
            run writes there.
    """

    def __init__(self, path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()):
        self.path = Path(path)
        self._inputs = [Path(p).resolve() for p in inputs]

    def __enter__(self) -> Path:
        self._check_existing()
        path = self.path.absolute()
        # Known by a sum of the name, which may be as long as a name can be.
        key = f".tgl-{zlib.crc32(os.fsencode(path.name)):08x}"
        with contextlib.ExitStack() as stack:
            try:
                for folder in reversed(path.parents):
                    if not folder.exists():
                        folder.mkdir()
                        stack.callback(_remove_if_empty, folder)
                lock = path.parent / f"{key}.lock"
                stack.enter_context(locked(lock, f"{self.path}: another run"))
                # Beside `path` where that is new, so that it appears at once; inside it where it
                # exists, since it may be another disk than its parent's.
                parent = path if path.is_dir() else path.parent
                self._temporary = parent / f"{key}.partial"
                shutil.rmtree(self._temporary, ignore_errors=True)  # of a run that was killed
                self._temporary.mkdir()
            except OSError as error:
                raise InputError(
                    f"{self.path}: cannot be written ({error.strerror}), give another --output"
                ) from None
            self._held = stack.pop_all()
        return self._temporary

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        with self._held:
            if kind is None:
                self._move_in_place()
            else:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def _check_existing(self) -> None:
        if not (self.path.exists() or self.path.is_symlink()):
            return
        if not self.path.is_dir():
            raise InputError(f"{self.path}: not a folder, give another --output")
        names = [f.name for f in self.path.iterdir() if not f.name.endswith((".partial", ".lock"))]
        if names and RESULT not in names:
            raise InputError(
                f"{self.path}: holds files but no {RESULT}, so it is no output of an earlier run; "
                f"give an empty or a new folder as --output"
            )
        replaced = [(self.path / name).resolve() for name in OURS]
        for source in self._inputs:
            if any(source == r or r in source.parents for r in replaced):
                raise InputError(f"{source}: lies in the output folder, give another --output")

    def _move_in_place(self) -> None:
        try:
            self._check_existing()
            self.path.mkdir(parents=True, exist_ok=True)
            for name in OURS:
                old = self.path / name
                if old.is_dir() and not old.is_symlink():
                    shutil.rmtree(old)
                else:
                    old.unlink(missing_ok=True)
            for entry in sorted(self._temporary.iterdir()):
                entry.rename(self.path / entry.name)
            self._temporary.rmdir()
        except (OSError, InputError) as error:
            kept = self._kept_elsewhere()
            raise InputError(
                f"{self.path}: the results could not be moved there ({error}); they are finished "
                f"and lie in {kept}"
            ) from None

    def _kept_elsewhere(self) -> Path:
        """Finished results under a name that can be seen."""
        for number in range(1, 1000):
            place = self._temporary.parent / f"results-{number}"
            if not place.exists():
                with contextlib.suppress(OSError):
                    return self._temporary.rename(place)
        return self._temporary


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it holds the results, or what somebody put there
        folder.rmdir()


def write_outputs(
    folder: Path,
    source: VideoSource,
    segmentations: Sequence[Segmentation],
    threshold: float,
    video: str,
    checkpoint: str,
    progress: Progress | None = None,
) -> None:
    """Writes overlay.mp4, masks/<n>/<frame>.png, result.json and timeline.png.

    The video is read a second time for this, so that neither its frames nor its masks are ever
    held all at once. The overlay keeps the frames' own timestamps, hence the video's duration.

    folder: exists, and is empty
    source, segmentations: the video and what was found in it, one Segmentation per expression
    video, checkpoint: as they shall stand in result.json
    progress: called with (frames done, frames in all, name of the stage)
    """
    first = segmentations[0]
    mask_folders = [folder / MASKS / str(n) for n in range(len(segmentations))]
    for mask_folder in mask_folders:
        mask_folder.mkdir(parents=True)
    pictured = set(spread(first.num_frames, _THUMBNAILS))
    thumbnails = []
    with VideoWriter(folder / OVERLAY, first.fps, first.size, source.pixel_aspect) as writer:

        def drawn() -> Iterator[tuple[int, Frame, np.ndarray]]:
            for i, frame in enumerate(ahead(_same_frames(source, first), FRAMES_AHEAD)):
                yield i, frame, overlay_of(frame.rgb, segmentations, i, labels=True)
                if i in pictured:
                    small = overlay_of(frame.rgb, segmentations, i, side=THUMBNAIL_SIDE)
                    thumbnails.append((frame.number, small))
                if progress is not None:
                    progress(i + 1, first.num_frames, "writing")

        def write(item: tuple[int, Frame, np.ndarray]) -> None:
            i, frame, overlay = item
            writer.write(overlay, frame.time)
            for mask_folder, segmentation in zip(mask_folders, segmentations, strict=True):
                mask = Image.fromarray(decode_mask(segmentation.rle[i]).astype("uint8") * 255)
                path = mask_folder / f"{frame.number:05d}.png"
                mask.save(path, compress_level=1)  # a third of the default's time

        behind(write, drawn())  # decoding, drawing and compressing, each on a thread of its own
    draw_timeline(folder / TIMELINE, segmentations, threshold, thumbnails)
    write_result_json(folder / RESULT, segmentations, video, checkpoint)


def _same_frames(source: VideoSource, segmentation: Segmentation):
    """The processed frames once more; InputError if they are not the same any longer."""
    numbers = segmentation.frames
    stride = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
    count = 0
    for frame in source.timed_frames(int(numbers[0]), int(numbers[-1]) + 1, stride):
        yield frame
        count += 1
    if count != segmentation.num_frames or source.size != segmentation.size:
        raise InputError(f"{source.name}: the video changed while it was read, run again")
