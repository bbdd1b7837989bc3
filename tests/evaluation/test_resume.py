"""Partial results: what is on disk after a kill, and what is refused."""

import pytest

from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.resume import PartialResults

IDENTITY = {"checkpoint": "abc", "threshold": 0.5}


def begun(folder, identity=IDENTITY, resume=False):
    partial = PartialResults(folder, identity)
    partial.begin(resume)
    return partial


def test_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "a" / "b"
    first = begun(folder)
    first.add("v1", {"x": 1})
    first.add("v2", {"x": 2.5})
    # Killed while it wrote, without closing anything.
    (folder / ".0123456789ab.partial").write_text('{"identity": {}, "video": "v3", "res')
    with pytest.raises(InputError, match="another evaluation writes there"):
        begun(folder, resume=True)  # while it runs
    first._lock.close()  # as the system does
    second = begun(folder, resume=True)
    assert second.read() == {"v1": {"x": 1}, "v2": {"x": 2.5}}
    second.add("v3", {"x": 3})
    second.close()
    third = begun(folder, resume=True)
    assert third.read() == {"v1": {"x": 1}, "v2": {"x": 2.5}, "v3": {"x": 3}}
    third.remove()
    third.close()
    assert list(folder.iterdir()) == []


def test_reads_what_all_processes_wrote(tmp_path):
    begun(tmp_path).close()
    for video in ("a/b", "犬" * 200):
        PartialResults(tmp_path, IDENTITY).add(video, {})
    again = begun(tmp_path, resume=True)
    assert set(again.read()) == {"a/b", "犬" * 200}
    again.close()
    assert set(PartialResults(tmp_path, IDENTITY).read()) == {"a/b", "犬" * 200}


def test_refuses_to_mix_settings_or_to_throw_away_work(tmp_path):
    first = begun(tmp_path)
    first.add("v1", {})
    first.close()
    with pytest.raises(InputError, match=r"threshold 0\.5, now it is 0\.4"):
        begun(tmp_path, {**IDENTITY, "threshold": 0.4}, resume=True)
    with pytest.raises(InputError, match="--resume"):
        begun(tmp_path)


def test_leaves_nothing_behind_without_a_finished_video(tmp_path):
    begun(tmp_path / "new").close()
    assert list(tmp_path.iterdir()) == []
    begun(tmp_path).close()
    assert tmp_path.is_dir() and list(tmp_path.iterdir()) == []


def test_unusable_folders_and_files(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        begun(tmp_path / "file")
    for content in ("nonsense", '{"identity"', "[]", '{"identity": {}, "video": "v1"}'):
        (tmp_path / "partial-0.json").write_text(content)
        with pytest.raises(InputError, match="damaged"):
            begun(tmp_path, resume=True)
