"""Work beside the main thread: before it is needed, and after it was handed over."""

from __future__ import annotations

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
    end, thread = object(), ThreadPoolExecutor(1, thread_name_prefix="ahead")
    waiting = deque(thread.submit(next, items, end) for _ in range(places + 1))
    try:
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item
            del item  # which may be large, while the next one is waited for
    finally:
        thread.shutdown(cancel_futures=True)


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
