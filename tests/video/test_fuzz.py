"""The short form of fuzz.py, which stands beside this file."""

from fuzz import fuzz


def test_damaged_containers_are_read_or_refused(tmp_path):
    tally, wrong = fuzz(70, 0, tmp_path)
    assert wrong == []
    assert tally["read"] and tally["refused"] and sum(tally.values()) == 70
