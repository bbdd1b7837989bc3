"""One progress bar, with the time left, for all processes of an evaluation."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

POLL_SECONDS = 2.0


class ProgressBar:
    """Counts frames times expressions of all processes; shown by the main one alone.

    What the others have done is read from the files of results that they write anyway: no messages
    between processes that compute at their own pace.

    Args:
        total: work that is left for all processes.
        others: files that the other processes append to; what is in them now does not count.
        shown: whether this process shows the bar.
    """

    def __init__(self, total: int, others: Sequence[Path], shown: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="frame", smoothing=0.1, disable=not shown)
        self._read = {path: path.stat().st_size if path.exists() else 0 for path in others}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        if shown and others:
            self._thread.start()

    def update(self, work: int, video: str) -> None:
        """Adds work of this process."""
        self._bar.set_postfix_str(video, refresh=False)
        self._bar.update(work)

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._bar.close()

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            work = sum(self._news(path) for path in self._read)
            if work:
                self._bar.update(work)

    def _news(self, path: Path) -> int:
        """Work noted in a file since the last look."""
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(self._read[path])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[path] += len(whole)
        results = [json.loads(line).get("result") for line in whole.splitlines()]
        return sum(r["frames"] * len(r["scores"]) for r in results if r is not None)
