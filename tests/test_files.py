"""Files that appear whole, locks, and commands that survive odd names and readers that leave."""

import errno
import os
import subprocess
import sys

import pytest

from tgl_e2e.errors import InputError
from tgl_e2e.files import locked, replacing, write_text
from tgl_e2e.inference.output_folder import RESULT, OutputFolder


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "one\n")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "one\n" and os.listdir(tmp_path) == ["a.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_long_names_and_texts_of_other_encodings_are_written(tmp_path):
    path = tmp_path / ("x" * 245 + ".json")
    write_text(path, "caf\udce9\n")
    assert path.read_text() == "caf\\udce9\n"


def test_one_run_writes_at_a_time(tmp_path):
    with locked(tmp_path / ".lock", "results: another run"):
        code = (
            "from pathlib import Path; from tgl_e2e.files import locked\n"
            f"with locked(Path({str(tmp_path / '.lock')!r}), 'results: another run'): pass"
        )
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "results: another run writes there" in other.stderr
    with locked(tmp_path / ".lock", "results"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_locks_is_no_other_run(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(UserWarning, match="cannot be locked"),
        locked(tmp_path / ".lock", "results: another run"),
    ):
        pass


# --- the output folder --------------------------------------------------------------------------


def fill(folder) -> None:
    (folder / RESULT).write_text("{}")
    (folder / "overlay.mp4").write_text("film")


def test_finished_results_are_never_lost(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(InputError, match="finished") as error, OutputFolder(path) as folder:
        fill(folder)
        path.mkdir()
        (path / "notes.txt").write_text("of somebody else")
    kept = tmp_path / "results-1"
    assert str(kept) in str(error.value) and (kept / RESULT).is_file()
    assert (path / "notes.txt").read_text() == "of somebody else"


def test_a_folder_that_disappears_is_made_again(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    with OutputFolder(path) as folder:
        fill(folder)
        folder.rename(tmp_path / "aside")
        path.rmdir()
        path.mkdir()
        (tmp_path / "aside").rename(folder)
    assert (path / RESULT).is_file()


def test_what_a_killed_run_left_is_cleared_and_a_running_one_is_not(tmp_path):
    path = tmp_path / "out"
    with OutputFolder(path) as folder:
        fill(folder)
        (folder.parent / "x").mkdir()
        with pytest.raises(InputError, match="another run"), OutputFolder(path):
            pass
        assert (folder / RESULT).is_file()
    (tmp_path / "x").rmdir()
    left = path / folder.name
    left.mkdir()  # as kill -9 leaves it
    (left / "half").write_text("")
    with OutputFolder(path) as again:
        fill(again)
    assert sorted(p.name for p in path.iterdir()) == ["overlay.mp4", RESULT]


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("y" * 250)
    with OutputFolder(path) as folder:
        fill(folder)
    assert (path / RESULT).is_file() and os.listdir(tmp_path) == [path.name]


# --- commands -----------------------------------------------------------------------------------


def test_a_terminal_of_few_letters_and_a_reader_that_leaves_end_nothing():
    code = (
        "import sys; from tgl_e2e import cli\n"
        "def command():\n"
        "    print('caf\\u00e9 \\u65e5\\u672c \\udcff')\n"
        "    for _ in range(100_000): print('more lines than a pipe holds')\n"
        "sys.exit(cli.run('demo', command))"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert b"\\u65e5" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == b""


def test_a_second_video_is_no_expression():
    from pathlib import Path

    command = [sys.executable, str(Path(__file__).parent.parent / "infer.py")]
    done = subprocess.run([*command, "a.mp4", "b.mp4", "the dog"], capture_output=True, text=True)
    assert done.returncode == 2 and "second video" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
