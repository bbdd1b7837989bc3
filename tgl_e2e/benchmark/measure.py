"""What the benchmark measures with: stages of a run, peak memory, and the machine's own rates."""

from __future__ import annotations

import resource
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from tgl_e2e.model import cpu


class StageClock(ExitStack):
    """Sums up seconds by stage while methods of given objects run; nested stages are not counted
    twice. Each thread has its own stack, so what runs beside the main thread is listed too (the
    sum may then exceed the time on the wall)."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._local = threading.local()

    def watch(self, owner: Any, name: str, stage: str) -> None:
        """Counts what ``owner.name`` takes, and each step of an iterator that it returns, until
        the clock is left."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            with self.stage(stage):
                found = function(*args, **kwargs)
            return steps(found) if isinstance(found, Iterator) else found

        def steps(iterator):
            while True:
                with self.stage(stage):
                    item = next(iterator, None)
                if item is None:
                    return
                yield item

        self.enter_context(mock.patch.object(owner, name, timed))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        stack = self._local.__dict__.setdefault("stack", [])
        synchronize(self._device)
        start = time.perf_counter()
        stack.append(0.0)
        try:
            yield
        finally:
            synchronize(self._device)
            elapsed = time.perf_counter() - start
            inner = stack.pop()
            self.seconds[name] += elapsed - inner
            if stack:
                stack[-1] += elapsed


def synchronize(device: torch.device) -> None:
    """Waits for what a GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Measured:
    """What the context took: ``seconds``, ``cpu_seconds`` (of the processor), and in ``peaks`` the
    highest memory in bytes: ``host_bytes`` (resident set of the process) and ``device_bytes`` (what
    torch holds on a GPU; None without one)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.peaks: dict[str, int | None] = {}

    def __enter__(self) -> Measured:
        # Linux resets its high-water mark so; elsewhere it is the peak since the process started.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        synchronize(self._device)
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu_seconds = time.process_time() - self._start[1]
        on_gpu = self._device.type == "cuda"
        device = torch.cuda.max_memory_allocated(self._device) if on_gpu else None
        self.peaks = {"host_bytes": _high_water_mark(), "device_bytes": device}


def _high_water_mark() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product, by the fastest library."""
    size = 2048 if device.type == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype)
    with torch.no_grad():
        seconds = _best_time(lambda: cpu.linear(a, a), device)
    return 2 * size**3 / seconds


def bandwidth(device: torch.device) -> float:
    """Bytes per second of a copy larger than the caches, reads and writes counted."""
    source = torch.zeros(128 * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() / _best_time(lambda: target.copy_(source), device)


def _best_time(work: Callable[[], object], device: torch.device, repeats: int = 15) -> float:
    best = float("inf")
    for _ in range(repeats + 1):  # one more to warm up: the best is never the first
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention in ``work`` (a
    product of m x k and k x n is 2 m k n). On one thread: what others do is not seen."""
    mapping, threads = {}, torch.get_num_threads()
    if torch.backends.mkldnn.is_available():
        mapping[torch.ops.mkldnn._linear_pointwise] = _linear_flops
    torch.set_num_threads(1)
    try:
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            work()
    finally:
        torch.set_num_threads(threads)
    return counter.get_total_flops()


def _linear_flops(x: torch.Size, weight: torch.Size, *rest: Any, **other: Any) -> int:
    """As torch's registry wants it: from shapes."""
    return 2 * x.numel() * weight[0]
