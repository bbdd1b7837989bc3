"""The page is for this machine, hands out nothing else, and opens no stranger's trap."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from serving import SAMPLE, TINY, serving, write_squares

from tgl_e2e.app.__main__ import main
from tgl_e2e.app.uploads import Uploads

ROOT = "api/splits/train/videos"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("safety")
    root = write_squares(folder / "set")
    secret = folder / "secret.jpg"
    secret.write_bytes(b"secret")
    frames = root / "train" / "JPEGImages" / "video0"
    (frames / "00003.jpg").unlink()
    (frames / "00003.jpg").symlink_to(secret)
    (frames / "00004.jpg").unlink()
    (frames / "00004.jpg").symlink_to(frames / "00005.jpg")
    with serving("--root", root, "--checkpoint", TINY, "--max-upload", 1) as server:
        yield server


@pytest.mark.parametrize(
    "path",
    [
        "../server.py",
        "..%2fserver.py",
        "%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
        "static/../../server.py",
        "//etc/passwd",
        "api/splits/..%2f..%2fetc",
        f"{ROOT}/..%2f..%2fmeta_expressions.json/frames/0",
        f"{ROOT}/video0/frames/..%2f..%2f..%2fmask_dict.json",
        f"{ROOT}/video0/frames/-1",
        f"{ROOT}/video0/frames/3",  # a link out of the data set
        f"{ROOT}/video0/frames/24",
        "api/runs/..%2f..%2fuploads/overlay.mp4",
        "api/runs/x/results.zip",
    ],
)
def test_nothing_else_is_handed_out(served, path):
    status, content = served.ask(path)
    assert status in (400, 404, 422)
    assert b"secret" not in (
        content if isinstance(content, bytes) else json.dumps(content).encode()
    )


def test_what_is_its_own_is_handed_out(served):
    assert served.ask(f"{ROOT}/video0/frames/4")[1][:2] == b"\xff\xd8"  # a link within
    assert served.ask(f"{ROOT}/video0/expressions/1/masks/8")[1][:4] == b"\x89PNG"
    status, page = served.ask("")
    assert status == 200
    files = ["main.js", "try.js", "annotate.js", "rows.js", "player.js", "saver.js", "common.js"]
    parts = [page, *(served.ask(name)[1] for name in [*files, "app.css", "icon.svg"])]
    own = b"http://www.w3.org/2000/svg"  # a name, not an address
    assert not any(b"://" in part.replace(own, b"") for part in parts)


def test_other_pages_cannot_use_it(served):
    assert served.ask("api/about", Host="evil.example")[0] == 403  # DNS rebinding
    assert served.ask("api/about", Origin="http://evil.example")[0] == 403
    body = {"upload": "example", "texts": ["x"]}
    assert served.ask("api/runs", "POST", body, Origin="http://evil.example")[0] == 403
    assert served.ask("api/runs", "POST", body, Sec_Fetch_Site="cross-site")[0] == 403
    own = served.url.rstrip("/")
    assert served.ask("api/about", Origin=own)[0] == 200
    assert served.ask("api/about", Host="[")[0] == 403
    large = str(2**22 + 1)  # would be kept in memory
    assert served.ask("api/runs", "POST", b"{}", Content_Length=large)[0] == 403


def test_a_page_for_others_answers_to_its_own_names_only():
    with serving("--host", "0.0.0.0") as server:
        machine, port = server.url[7:].rstrip("/").split(":")
        assert machine == socket.gethostname()
        server.url = f"http://127.0.0.1:{port}/"
        for name, status in {machine: 200, "10.1.2.3": 200, "evil.example": 403}.items():
            headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
            assert server.ask("api/about", **headers)[0] == status


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("..", "video"),
        ("a/b/ü 日本.mp4", "ü 日本.mp4"),
        ("..\\..\\<b>x.mp4", "_..__b_x.mp4"),
        ("long" * 50 + ".mp4", ("long" * 50 + ".mp4")[-120:]),
    ],
)
def test_an_upload_is_called_what_any_folder_may_be_called(tmp_path, monkeypatch, given, kept):
    monkeypatch.setattr("tgl_e2e.app.uploads.probe", lambda path, name: {})
    assert Uploads(tmp_path, 1).accept(tmp_path / "x", given)[0].name == kept


def test_only_this_machine_by_default(served):
    port = int(served.url.rstrip("/").rpartition(":")[2])
    listening = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True).stdout
    if not listening:
        pytest.skip("needs /proc/net/tcp")
    addresses = [line.split()[1] for line in listening.splitlines()[1:]]
    assert [a for a in addresses if a.endswith(f":{port:04X}") and a.startswith("0100007F")]
    assert not [a for a in addresses if a.endswith(f":{port:04X}") and a.startswith("00000000")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a video"),
        (b"a letter\n" * 99, "not a video"),
        (b"\x00" * 5000, "not a video"),
        (SAMPLE.read_bytes()[:3000], "clip.mp4: "),
        (b"\x00" * (2**20 + 1), "larger than 1 MB"),
    ],
    ids=["playlist", "concat", "text", "zeros", "cut", "large"],
)
def test_uploads_that_are_no_video(served, content, says):
    status, answer = served.ask("api/uploads?name=../../clip.mp4", "POST", content)
    assert status == 400 and says in answer["error"] and "\n" not in answer["error"]
    assert "tgl-app-" not in answer["error"]  # in the visitor's terms


def test_an_upload_without_a_length_is_limited_too(served):
    host, port = served.url[7:].rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST /api/uploads HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        try:
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b"\x00" * 65536 + b"\r\n")
        except OSError:
            pass  # it hung up
        assert b" 400 " in connection.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "values",
    [
        {"moments": "/etc/passwd"},
        {"moments": "/etc/passwd+top-k:4"},
        {"checkpoint": "/tmp", "upload": "/etc/passwd"},
        {"upload": "../../sample.mp4"},
        {"device": "cuda:99"},
        {"threshold": 2},
        {"texts": []},
        {"texts": ["x"] * 17},
        {"texts": ["x" * 501]},
    ],
)
def test_no_name_of_a_file_comes_from_the_browser(served, values):
    body = {"upload": "example", "texts": ["x"]} | values
    status, answer = served.ask("api/runs", "POST", body)
    assert status in (400, 422) and "\n" not in answer["error"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_uploads_are_gone_at_the_end(tmp_path, monkeypatch, how):
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def kept() -> list[Path]:
        return list(tmp_path.glob("tgl-app-*"))

    with serving("--checkpoint", TINY) as server:
        status, found = server.upload(SAMPLE)
        assert status == 200 and found["size"] == [256, 256]
        assert len(list(kept()[0].glob("uploads/*"))) == 1
        assert oct(kept()[0].stat().st_mode)[-3:] == "700"
        status = server.end(how)
    if how == signal.SIGKILL:
        with serving():  # the next one tidies up
            assert len(kept()) == 1
    else:
        assert status == 0
    assert kept() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--root", "nowhere", "--port", "0"], "nowhere: no such folder"),
        (["--root", "{tmp}", "--port", "0"], "no data set in the layout of MeViS"),
        (["--checkpoint", "runs/no/such", "--port", "0"], "no such folder"),
        (["--port", "{taken}"], "give another --port"),
        (["--port", "99999999"], "from 0 to 65535"),
        (["--max-upload", "0"], "give at least 1"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
    ],
)
def test_bad_starts_are_one_line(tmp_path, capsys, arguments, says):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {"tmp": tmp_path, "taken": taken.getsockname()[1]}
        assert main([a.format(**values) for a in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "no network in" not in line]
    assert len(lines) == 1 and says in lines[0]


def test_without_the_extra_it_says_what_to_install(tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(name='fastapi')")
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    found = subprocess.run(
        [sys.executable, "-m", "tgl_e2e.app"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2 and "pip install -e '.[app]'" in found.stderr
