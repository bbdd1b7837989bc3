"""Work beside the main thread: before it is needed, and after it was handed over."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Argument = TypeVar("Argument")


def ahead(items: Iterator[Item], places: int) -> Iterator[Item]:
    """The same items, made by a thread of their own while the last ones are used. What goes wrong
    there is raised here; the thread ends with this iterator, used up or not.

    Args:
        places: items that wait to be used at most.
    """
    waiting: queue.Queue = queue.Queue(places)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if not _put(waiting, stopped, (item, None)):
                    return
            _put(waiting, stopped, (None, StopIteration()))
        except BaseException as error:
            _put(waiting, stopped, (None, error))

    thread = threading.Thread(target=work, name="reading", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()


def _put(waiting: queue.Queue, stopped: threading.Event, item: tuple) -> bool:
    """Waits for a free place; False where nobody will ever take the item."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def side_by_side(
    make: Callable[[Argument], Item], arguments: Iterable[Argument], workers: int
) -> Iterator[Item]:
    """``make`` of each argument, in order; so many are made at once, each on a thread of its own,
    and no more than that wait to be used. What goes wrong there is raised here."""
    if workers < 2:
        yield from map(make, arguments)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="side by side") as pool:
        made: deque[Future] = deque()
        for argument in arguments:
            made.append(pool.submit(make, argument))
            if len(made) == workers:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()


def behind(use: Callable[[Item], None], items: Iterator[Item]) -> None:
    """``use`` of each item in order, on a thread of its own while the next one is made; no more
    than one item waits. What goes wrong there is raised here."""
    with ThreadPoolExecutor(1, thread_name_prefix="behind") as thread:
        last: Future | None = None
        for item in items:
            if last is not None:
                last.result()
            last = thread.submit(use, item)
        if last is not None:
            last.result()
