"""What all commands share, as processes of a launch."""

import os
import subprocess
import sys

import pytest
from launch import LAUNCH_TWO

COMMAND = """
import os, sys, time
from tgl_e2e import cli
from tgl_e2e.errors import InputError
from tgl_e2e.training.stopping import StopSignal

def command():
    stop = StopSignal()  # takes the launcher's signal for a wish
    raise InputError("nowhere: no such folder")

def arguments():
    cli.Parser(prog="command").parse_args(["--unknown"])

if os.environ["RANK"] == "0":
    time.sleep(1)  # the main process is the slower one
sys.exit(cli.run("command", {"command": command, "arguments": arguments}[sys.argv[1]]))
"""


@pytest.mark.parametrize("mistake", ["command", "arguments"])
def test_of_several_processes_the_main_one_says_what_is_wrong(tmp_path, mistake):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    done = subprocess.run(
        [*LAUNCH_TWO, str(script), mistake],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=28,  # the launcher itself kills after 30
    )
    assert done.returncode != 0
    assert done.stderr.count("command: error: ") == 1, done.stderr


def test_a_mistake_that_only_another_process_met_is_said_after_a_while(monkeypatch, capsys):
    from tgl_e2e import cli
    from tgl_e2e.errors import InputError

    def command():
        raise InputError("only here")

    waited = []
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    assert cli.run("command", command) == cli.MISTAKE
    assert len(waited) == 1 and waited[0] > 1
    assert capsys.readouterr().err == "command: error: only here\n"
