"""Work beside the main thread."""

import threading
import time

import pytest

from tgl_e2e.inference.prefetch import ahead, behind, side_by_side

PLACES = 16


def test_items_come_in_order_and_are_made_on_another_thread():
    made_on = set()

    def items():
        for n in range(100):
            made_on.add(threading.current_thread())
            yield n

    assert list(ahead(items(), PLACES)) == list(range(100))
    assert threading.current_thread() not in made_on


def test_an_error_is_raised_where_the_items_are_used():
    def items():
        yield 1
        raise KeyError("broken")

    reader = ahead(items(), PLACES)
    assert next(reader) == 1
    with pytest.raises(KeyError, match="broken"):
        next(reader)


def test_not_more_is_read_than_may_wait_and_nothing_goes_on_afterwards():
    made = []

    def items():
        for n in range(1000):
            made.append(n)
            yield n

    before = threading.active_count()
    reader = ahead(items(), PLACES)
    assert next(reader) == 0
    deadline = time.monotonic() + 10
    while len(made) < PLACES + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == PLACES + 2  # one is used, one has no place yet
    reader.close()
    assert threading.active_count() == before


def test_items_are_used_in_order_on_another_thread():
    used, on = [], set()

    def use(item):
        on.add(threading.current_thread())
        used.append(item)

    behind(use, iter(range(50)))
    assert used == list(range(50)) and threading.current_thread() not in on


def test_an_error_of_using_ends_the_making():
    made = []

    def items():
        for n in range(50):
            made.append(n)
            yield n

    def use(item):
        raise KeyError("full")

    with pytest.raises(KeyError, match="full"):
        behind(use, items())
    assert len(made) <= 3


@pytest.mark.parametrize("workers", [1, 3])
def test_side_by_side_keeps_the_order_and_no_more_at_once(workers):
    running, most, started = set(), [], []

    def make(n):
        running.add(n)
        most.append(len(running))
        time.sleep(0.002 * (n % 3))
        running.discard(n)
        return n * n

    def arguments():
        for n in range(20):
            started.append(n)
            yield n

    results = side_by_side(make, arguments(), workers)
    assert next(results) == 0
    assert len(started) <= workers
    assert [0, *results] == [n * n for n in range(20)]
    assert 1 <= max(most) <= workers


@pytest.mark.parametrize("workers", [1, 3])
def test_side_by_side_raises_what_goes_wrong(workers):
    def make(n):
        if n == 2:
            raise KeyError("broken")
        return n

    results = side_by_side(make, range(9), workers)
    with pytest.raises(KeyError, match="broken"):
        list(results)
