"""Annotations: nothing that was acknowledged is lost, whatever happens."""

import json
import random
import signal
import threading
import time
from urllib.error import URLError

import pytest
from serving import FRAMES, Server, serving, write_squares

from tgl_e2e.app.store import Conflict, Store
from tgl_e2e.data.annotations import Annotation, Journal, read_annotations
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.moments_json import read_moments, write_moments
from tgl_e2e.errors import InputError


def path_of(video: int, expression: int) -> str:
    return f"api/splits/train/videos/video{video}/expressions/{expression}"


def change(revision: int, objects: dict, annotator: str = "anna", **more) -> dict:
    return {
        "annotator": annotator,
        "revision": revision,
        "objects": objects,
        "state": "done",
    } | more


def test_kills_lose_nothing(tmp_path, request):
    """Annotations in a row while the server is killed at random: `--kills 10` is the full form."""
    kills = request.config.getoption("--kills", default=3)
    count = 20 * kills
    root = write_squares(tmp_path, videos=2, expressions=3 * kills)
    folder = root / "train"
    rng = random.Random(kills)
    at = set(rng.sample(range(1, count), kills))
    valid, stop = [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            if (folder / "moments.json").exists():
                valid.append(read_moments(folder / "moments.json"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    server = Server("--port", 0, "--root", root)
    revisions, sent = {}, {}
    try:
        for n in range(count):
            key = rng.randrange(2), 3 * rng.randrange(kills)
            spans = [[n % FRAMES, FRAMES - 1]]
            if n in at:  # somewhere within the request, or just before or after it
                timer = threading.Timer(rng.random() * 0.03, server.process.kill)
                timer.start()
            while True:
                body = change(revisions.get(key, 0), {"0": spans}, note=str(n))
                try:
                    status, answer = server.ask(path_of(*key), "PUT", body)
                except (URLError, OSError):
                    server.end(signal.SIGKILL)
                    server = Server("--port", 0, "--root", root)
                    continue
                revisions[key] = answer["annotation"]["revision"]
                if status == 200 or answer["annotation"]["note"] == str(n):
                    break  # the second: it was written, and the answer was lost
                assert status == 409
            sent[key] = n, spans
            if n in at:
                timer.join()
                server.end(signal.SIGKILL)
                server = Server("--port", 0, "--root", root)
        server.ask(path_of(0, 0))  # opens the split
    finally:
        stop.set()
        watcher.join()
        server.end(signal.SIGKILL)
    with Store(folder):
        pass
    moments, annotations = (
        read_moments(folder / "moments.json"),
        read_annotations(folder / "annotations.jsonl"),
    )
    for (video, expression), (n, spans) in sent.items():
        key = f"video{video}", str(expression)
        assert annotations[key]["anna"].note == str(n)
        assert [list(span) for span in moments[key[0]][key[1]]["0"]] == spans
    notes = [json.loads(line)["note"] for line in (folder / "annotations.jsonl").open()]
    assert sorted(map(int, notes)) == list(range(count))  # each once, none twice
    assert len(valid) > 3


def test_two_windows_do_not_overwrite_each_other(tmp_path):
    root = write_squares(tmp_path)
    with serving("--root", root) as server:
        first = change(0, {"0": [[2, 5]], "1": []})
        assert server.ask(path_of(0, 1), "PUT", first)[0] == 200
        status, answer = server.ask(path_of(0, 1), "PUT", change(0, {"0": [], "1": [[7, 9]]}))
        assert status == 409 and answer["annotation"]["objects"] == {"0": [[2, 5]], "1": []}
        # Another annotator starts from nothing, and takes nothing away.
        other = change(0, {"0": [[4, 8]], "1": [[1, 2]]}, annotator="ben")
        assert server.ask(path_of(0, 1), "PUT", other)[0] == 200
        listed = server.ask("api/splits/train?annotator=anna")[1]["videos"][0]["expressions"]
        assert [e["others"] for e in listed] == [0, 1, 0]
        assert [e["state"] for e in listed] == [None, "done", None]
        with serving("--root", root) as second:
            answer = second.ask("api/splits/train")[1]
            assert "another tgl_e2e.app annotates there" in answer["error"]
    moments = read_moments(root / "train" / "moments.json")
    assert moments == {"video0": {"1": {"0": [(2, 8)], "1": [(1, 2)]}}}


@pytest.mark.parametrize(
    ("objects", "more", "status"),
    [
        ({"0": [[2, FRAMES]]}, {}, 400),
        ({"0": [[5, 2]]}, {}, 400),
        ({"0": [[2, 5], [5, 6]]}, {}, 400),
        ({"7": [[2, 5]]}, {}, 400),
        ({"0": [[True, 5]]}, {}, 422),
        ({"0": [[1, 5]]}, {"annotator": " "}, 422),
        ({"0": [[1, 5]]}, {"wrong": ["3"]}, 400),
        ({"0": [[1, 5]]}, {"state": "perhaps"}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(served, objects, more, status):
    server, root = served
    answer = server.ask(path_of(0, 0), "PUT", change(0, objects) | more)
    assert answer[0] == status and "\n" not in answer[1]["error"]
    assert not (root / "train" / "annotations.jsonl").exists()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = write_squares(tmp_path_factory.mktemp("set"))
    with serving("--root", root) as server:
        yield server, root


def say(store: Store, expression: str, objects: dict, **more) -> Annotation:
    who = more.pop("annotator", "anna")
    latest = store.annotation("video0", expression, who)
    state = more.pop("state", "done")
    return store.save(
        Annotation("video0", expression, who, latest.revision, objects=objects, state=state, **more)
    )


def test_moments_that_were_there(tmp_path):
    """They are the start, stay where nobody annotates, and come into no agreement."""
    folder = write_squares(tmp_path) / "train"
    found = {"video0": {"0": {"0": [(1, 3)]}, "1": {"0": [(0, 1)], "1": []}}}
    write_moments(folder / "moments.json", found)
    with Store(folder) as store:
        assert store.annotation("video0", "0", "anna").objects == {"0": [(1, 3)]}
        say(store, "0", {"0": []}, state="open")  # begun by clearing
        assert read_moments(folder / "moments.json")["video0"]["0"] == {"0": []}
        say(store, "0", {"0": [(5, 9)]})
        # Another program writes meanwhile: what annotators said stays, and so does the rest of it.
        write_moments(folder / "moments.json", {"video1": {"0": {"0": [(2, 2)]}}, **found})
        say(store, "2", {})
    expected = {"0": {"0": [(5, 9)]}, "1": found["video0"]["1"], "2": {}}
    after = read_moments(folder / "moments.json")
    assert after == {"video0": expected, "video1": {"0": {"0": [(2, 2)]}}}
    assert set(read_annotations(folder / "annotations.jsonl")["video0", "0"]) == {"", "anna"}


def test_cannot_be_told(tmp_path):
    folder = write_squares(tmp_path) / "train"
    with Store(folder) as store:
        say(store, "0", {"0": [(1, 2)]}, state="unclear", note="too dark")
        assert not (folder / "moments.json").exists()
        say(store, "0", {"0": [(3, 4)]}, annotator="ben")
        assert read_moments(folder / "moments.json") == {"video0": {"0": {"0": [(3, 4)]}}}
        say(store, "1", {"0": [], "1": []}, state="open", missing=True, wrong=["1"])
        assert "1" not in read_moments(folder / "moments.json")["video0"]  # begun, and no more
    kept = read_annotations(folder / "annotations.jsonl")["video0", "1"]["anna"]
    assert kept.missing and kept.wrong == ["1"]


def test_a_line_that_was_cut_is_forgotten(tmp_path):
    folder = write_squares(tmp_path) / "train"
    with Store(folder) as store:
        say(store, "0", {"0": [(1, 2)]})
        say(store, "0", {"0": [(1, 8)]})
    path = folder / "annotations.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with Store(folder) as store:
        assert store.annotation("video0", "0", "anna").revision == 1
        assert read_moments(folder / "moments.json")["video0"]["0"] == {"0": [(1, 2)]}
        say(store, "0", {"0": [(4, 4)]})
        with pytest.raises(Conflict):
            store.save(Annotation("video0", "0", "anna", 1, objects={"0": []}))
    assert len(path.read_text().splitlines()) == 2
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(InputError, match="line 1: no annotation"), Store(folder):
        pass


def test_a_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "annotations.jsonl")
    journal.append(Annotation("v", "0", "anna", 1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(InputError, match="No space left"):
            journal.append(Annotation("v", "0", "anna", 2))
    assert read_annotations(tmp_path / "annotations.jsonl")["v", "0"]["anna"].revision == 1


def test_a_finished_set_is_read(tmp_path):
    root = write_squares(tmp_path)
    begun = time.monotonic()
    with Store(root / "train") as store:
        for video in ("video0", "video1"):
            for expression, objects in (("0", ["0"]), ("1", ["0", "1"]), ("2", [])):
                spans = {obj: [(2, 3), (4, 6)] for obj in objects}  # split, and not yet moved
                store.save(Annotation(video, expression, "anna", 0, objects=spans, state="done"))
    assert time.monotonic() - begun < 5
    dataset = read_mevis(root, "train")
    assert dataset.videos[0].expressions[1].moments == {"0": ((2, 6),), "1": ((2, 6),)}
