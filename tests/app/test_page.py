"""Both jobs in a real browser, from the first click to the written file.

`--basetemp DIR` keeps the screenshots of the last test.
"""

import json
import shutil
import signal
import time
import zipfile

import pytest
from serving import TEXT, TINY, Server, serving, write_clip, write_squares

from tgl_e2e.data.annotations import read_annotations
from tgl_e2e.data.moments_json import read_moments

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
if CHROMIUM is None:
    pytest.skip("needs Chromium", allow_module_level=True)
PATIENCE = 600_000  # ms: of a machine that is busy otherwise
SIZES = {"desk": (1280, 800), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *camera]
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = write_squares(tmp_path_factory.mktemp("set"))
    with serving("--root", root, "--checkpoint", TINY) as server:
        yield server, root / "train"


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    found = context.new_page()
    found.set_default_timeout(PATIENCE)
    mistakes = []
    found.on("pageerror", lambda error: mistakes.append(str(error)))
    yield found
    context.close()
    assert mistakes == []


def until(page, expression: str) -> None:
    """Waits for it to hold. (Playwright's own way needs eval, which the page forbids.)"""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def saved(page) -> None:
    until(page, "document.getElementById('saved').textContent === 'saved'")


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def drag(page, row: int, start: float, end: float) -> None:
    """On the row of an object, between frames."""
    box = page.locator(".bar.own").nth(row).bounding_box()
    width = box["width"] / 24
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * width, y)
    page.mouse.down()
    for step in (1, 2, 3):
        page.mouse.move(box["x"] + (start + (end - start) * step / 3) * width, y)
    page.mouse.up()


def test_annotating(page, served):
    server, folder = served
    page.goto(f"{server.url}#annotate")
    page.fill("#annotator", "anna")
    press(page, "Enter")
    page.wait_for_selector("#desk:not([hidden])")
    assert page.inner_text("#text") == "expression 0 of video 0"

    def spans(obj: str = "0", expression: str = "0") -> list:
        saved(page)
        return [
            list(span) for span in read_moments(folder / "moments.json")["video0"][expression][obj]
        ]

    # With keys alone: frames 3 to 7, then its end one on; undone, and done again.
    press(page, *["ArrowRight"] * 3, "i", *["ArrowRight"] * 4, "o")
    assert spans() == [[3, 7]]
    press(page, "ArrowRight", "z", "y", "Shift+ArrowRight", "i", "End", "o")
    assert spans() == [[3, 7], [18, 23]]
    press(page, "ArrowLeft", "ArrowLeft", "x", "Delete")
    assert spans() == [[3, 7], [18, 20]]
    assert page.locator(".bar.own .span").count() == 2

    # With the mouse: drawn, stretched, moved, deleted at the place that a click goes to.
    drag(page, 0, 10.5, 13.5)
    assert spans() == [[3, 7], [10, 13], [18, 20]]
    drag(page, 0, 14, 16.5)  # the edge of the one just drawn
    assert spans() == [[3, 7], [10, 16], [18, 20]]
    drag(page, 0, 5.5, 6.5)
    assert spans() == [[4, 8], [10, 16], [18, 20]]
    drag(page, 0, 13.5, 23)  # no further than its neighbour
    assert spans() == [[4, 8], [11, 20]]
    assert page.locator(".bar.own .span").count() == 3
    press(page, "z")
    assert spans() == [[4, 8], [10, 16], [18, 20]]
    box = page.locator(".bar.own").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 12.5 / 24, box["y"] + 10)
    assert page.inner_text("#a-frame") == "frame 12 of 23"
    page.click("[data-do=remove]")
    assert spans() == [[4, 8], [18, 20]]

    # The next one has two objects; the one after it none.
    press(page, "Enter")
    until(page, "document.getElementById('text').textContent.startsWith('expression 1')")
    press(page, "a", "2", "a", "w", "m", "t")
    page.keyboard.type("who knows")
    press(page, "Enter")
    assert spans("1", "1") == [[6, 23]]  # where it is seen
    press(page, "Enter")
    until(page, "document.getElementById('text').textContent.startsWith('expression 2')")
    press(page, "i", "o", "c")  # nothing to mark
    saved(page)
    said = read_annotations(folder / "annotations.jsonl")
    first, second, third = (said["video0", key]["anna"] for key in "012")
    assert (first.state, second.state, third.state) == ("done", "done", "unclear")
    assert second.missing and second.wrong == ["1"] and second.note == "who knows"
    assert "2" not in read_moments(folder / "moments.json")["video0"]
    assert page.inner_text("#done-count") == "3 of 6 expressions done"

    page.click(".item >> nth=0")  # what was marked is there again
    until(page, "document.getElementById('text').textContent.startsWith('expression 0')")
    assert page.locator(".bar.own .span").count() == 2


def test_two_windows_are_joined_and_a_dead_server_loses_nothing(browser, tmp_path):
    root = write_squares(tmp_path)
    server = Server("--port", 0, "--root", root)
    port = server.url.rstrip("/").rpartition(":")[2]
    context = browser.new_context()
    context.add_init_script("localStorage.setItem('tgl-annotator', 'anna')")
    try:
        one, other = context.new_page(), context.new_page()
        for page in (one, other):
            page.set_default_timeout(PATIENCE)
            page.goto(f"{server.url}#annotate")
            page.wait_for_selector("#desk:not([hidden])")
        press(one, "i", "ArrowRight", "o")
        saved(one)
        press(other, "End", "i", "ArrowLeft", "o")
        saved(other)
        assert other.locator(".bar.own .span").count() == 2
        moments = root / "train" / "moments.json"
        assert read_moments(moments) == {"video0": {"0": {"0": [(0, 1), (22, 23)]}}}

        server.end(signal.SIGKILL)
        press(other, "Home", *["ArrowRight"] * 8, "i", "ArrowRight", "o")
        until(other, "document.getElementById('saved').textContent.startsWith('not ')")
        other.close()  # the tab, too; the next one brings it in
        server = Server("--port", port, "--root", root)
        again = context.new_page()
        again.set_default_timeout(PATIENCE)
        again.goto(f"{server.url}#annotate")
        again.wait_for_selector(".bar.own .span >> nth=2")
        expected = {"video0": {"0": {"0": [(0, 1), (8, 9), (22, 23)]}}}
        deadline = time.monotonic() + PATIENCE / 1000
        while read_moments(moments) != expected:
            assert time.monotonic() < deadline
            again.wait_for_timeout(50)
    finally:
        context.close()
        server.end()


def test_trying(page, served, tmp_path):
    server, _ = served
    clip = write_clip(tmp_path / "a clip.mp4", 12)
    page.goto(f"{server.url}#try")
    page.click("#run")
    assert page.inner_text("#run-line") == "choose a video first"
    letter = tmp_path / "letter.mp4"
    letter.write_text("no video")
    page.set_input_files("#file", letter)
    page.wait_for_selector("#video-line.bad")
    assert page.inner_text("#video-line").startswith("letter.mp4: not a video")
    page.set_input_files("#file", clip)
    page.wait_for_selector("#video-line.good")
    assert page.inner_text("#video-line").startswith("256 x 256, about 12 frames at 24")
    page.fill("#texts input", TEXT)
    press(page, "Enter")
    page.wait_for_selector("#progress:not([hidden])")
    page.wait_for_selector("#found:not([hidden])")
    until(page, "document.getElementById('video').readyState >= 2")

    # The player and the timeline are in step, and step by frame.
    page.evaluate("document.getElementById('video').pause()")
    box = page.locator("#v-timeline .bar").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 7.5 / 12, box["y"] + 20)
    until(page, "document.getElementById('v-frame').textContent === 'frame 7'")
    assert page.evaluate("document.getElementById('video').currentTime") == pytest.approx(
        7.5 / 24, abs=0.01
    )
    assert page.inner_text(".tip").startswith("frame 7: relevance 0.")
    press(page, "ArrowRight")
    until(page, "document.getElementById('v-frame').textContent === 'frame 8'")
    page.fill("#threshold", "0")
    assert page.inner_text("#v-timeline .faint") == "M+ in 12 of 12 frames"
    page.fill("#threshold", "1")
    assert page.inner_text("#v-timeline .faint") == "not found"
    page.fill("#threshold", "0.5")
    assert page.inner_text("#threshold-line") == ""
    with page.expect_download() as download:
        page.click("#zip")
    assert download.value.suggested_filename == "a clip.zip"
    with zipfile.ZipFile(download.value.path()) as file:
        shown = json.loads(file.read("a clip/result.json"))["expressions"][0]
    assert len(shown["masks"]) == 12

    page.click("#camera")
    until(page, "document.getElementById('video').srcObject?.active")
    page.wait_for_timeout(1500)
    page.click("#camera")
    until(page, "document.getElementById('drop-text').textContent === 'camera.webm'")
    page.wait_for_selector("#video-line.good")


def test_keys_that_come_early_and_slips(page, served):
    """What is pressed before the next expression is there is meant for that one; what would mark
    nothing by mistake is asked about."""
    server, folder = served
    (folder / "JPEGImages" / "video1" / "00023.jpg").unlink()
    page.add_init_script("localStorage.setItem('tgl-annotator', 'dora')")
    page.goto(f"{server.url}#annotate")
    page.wait_for_selector("#desk:not([hidden])")

    def there(text: str) -> None:
        until(page, f"document.getElementById('text').textContent === '{text}'")

    press(page, "n", "n", "p", "i", "ArrowRight", "o")
    there("expression 1 of video 0")
    saved(page)
    press(page, "p", "i", "Enter")
    until(page, "document.getElementById('a-line').textContent.startsWith('an interval has begun')")
    press(page, "Escape", "Enter")
    until(page, "document.getElementById('a-line').textContent.startsWith('nothing is marked')")
    there("expression 0 of video 0")
    press(page, "Enter")
    there("expression 1 of video 0")
    said = read_annotations(folder / "annotations.jsonl")
    assert said["video0", "0"]["dora"].state == "done"
    assert said["video0", "0"]["dora"].objects == {"0": []}
    assert said["video0", "1"]["dora"].objects == {"0": [(0, 1)], "1": []}

    press(page, "n", "n", "End")
    until(page, "document.getElementById('no-frame').textContent.includes('frame 23 is not there')")
    press(page, "Home")
    until(page, "document.getElementById('no-frame').textContent === ''")
    page.fill("#filter", "nothing like it")
    assert page.inner_text("#list").startswith("no video and no expression")


def test_the_network_suggests(page, served):
    server, folder = served
    page.add_init_script("localStorage.setItem('tgl-annotator', 'ben')")
    page.goto(f"{server.url}#annotate")
    page.wait_for_selector("#desk:not([hidden])")
    press(page, "s")
    page.wait_for_selector("#a-timeline .curve")
    maybe = page.locator(".bar .maybe").count()
    press(page, "s")
    assert page.locator(".bar.own .span").count() == maybe
    if maybe:
        saved(page)
        assert read_annotations(folder / "annotations.jsonl")["video0", "0"]["ben"].objects["0"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(browser, served, tmp_path, scheme):
    server, _ = served
    for name, (width, height) in SIZES.items():
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        context.add_init_script("localStorage.setItem('tgl-annotator', 'cleo')")
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        for view, there in (("annotate", "#desk:not([hidden])"), ("try", "#texts input")):
            page.goto(f"{server.url}#{view}")
            page.reload()
            page.wait_for_selector(there)
            if view == "annotate":
                press(page, "3", "2", "n")
                page.wait_for_selector(".bar.own >> nth=1")
            page.screenshot(path=tmp_path / f"{view}-{name}.png", full_page=True)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, (view, name)
            if name == "desk":
                high = page.evaluate("document.documentElement.scrollHeight - innerHeight")
                assert high <= 0, view
        context.close()
