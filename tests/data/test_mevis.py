"""The MeViS reader on a small folder of the true layout."""

import json
import logging
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tgl_e2e.data.base import Pictures
from tgl_e2e.data.datasets import read_dataset
from tgl_e2e.errors import InputError

HEIGHT, WIDTH, FRAMES = 12, 20, 6


def read_mevis(root, split):
    return read_dataset("mevis", root, split)


def rle(mask):
    """COCO RLE with counts as str, as MeViS stores it; null for an empty mask."""
    if not mask.any():
        return None
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def square_track(left, frames):
    """(T, H, W) bool: a 4 x 4 square in the given frames."""
    track = np.zeros((FRAMES, HEIGHT, WIDTH), dtype=bool)
    track[list(frames), 3:7, left : left + 4] = True
    return track


TRACKS = {
    "10": square_track(0, range(6)),
    "11": square_track(6, [1, 2, 5]),
    "12": square_track(9, [3]),
}


def expression(text, objects, annotations):
    return {"exp": text, "obj_id": objects, "anno_id": annotations}


@pytest.fixture
def root(tmp_path):
    """One video, four expressions: one object, two objects, one in two pieces, no target."""
    split = tmp_path / "valid_u"
    frames = split / "JPEGImages" / "clip"
    frames.mkdir(parents=True)
    names = [f"{i:05d}" for i in range(FRAMES)]
    for i, name in enumerate(names):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8)).save(frames / f"{name}.jpg")
    expressions = {
        "0": expression("the square that moves", [0], [10]),
        "1": expression("both squares", [0, 1], [10, 11]),
        "2": expression("the broken square", [1, 1], [11, 12]),
        "3": expression("the circle", [], []),
    }
    write(
        split,
        "meta_expressions.json",
        {"videos": {"clip": {"frames": names, "expressions": expressions}}},
    )
    write(split, "mask_dict.json", {key: [rle(m) for m in track] for key, track in TRACKS.items()})
    moments = {
        "0": {"objects": {"0": [[1, 3]]}},
        "1": {"objects": {"0": [[0, 1]], "1": [[1, 2], [5, 5]]}},
        "2": {"objects": {"1": [[3, 3]]}},
        "3": {"objects": {}},
    }
    write(split, "moments.json", {"version": 1, "videos": {"clip": {"expressions": moments}}})
    return tmp_path


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))


def edit(root, name, change):
    path = root / "valid_u" / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_reads_videos_texts_and_objects(root):
    data = read_mevis(root, "valid_u")
    assert len(data.videos) == 1 and data.num_expressions == 4
    video = data.video("clip")
    assert video.num_frames == FRAMES and video.size() == (HEIGHT, WIDTH)
    assert [e.text for e in video.expressions][1] == "both squares"
    assert [e.id for e in video.expressions] == ["0", "1", "2", "3"]
    assert [e.objects for e in video.expressions] == [("0",), ("0", "1"), ("1",), ()]
    assert [e.no_target for e in video.expressions] == [False, False, False, True]
    assert len(video.pictures) == FRAMES
    assert abs(np.asarray(video.pictures[3]).mean() - 120) < 3


def test_masks_are_unions_and_decoded_frame_by_frame(root):
    one, two, broken, nothing = read_mevis(root, "valid_u").videos[0].expressions
    for t in range(FRAMES):
        assert (one.mask(t) == TRACKS["10"][t]).all()
        assert (two.mask(t) == (TRACKS["10"][t] | TRACKS["11"][t])).all()
        assert (broken.mask(t) == (TRACKS["11"][t] | TRACKS["12"][t])).all()
        assert nothing.mask(t).shape == (HEIGHT, WIDTH) and not nothing.mask(t).any()
    assert one.mask(0).dtype == bool
    with pytest.raises(IndexError):
        one.mask(FRAMES)


def test_moments_per_object_and_together(root):
    one, two, _, nothing = read_mevis(root, "valid_u").videos[0].expressions
    assert one.moments == {"0": ((1, 3),)}
    assert two.moments == {"0": ((0, 1),), "1": ((1, 2), (5, 5))}
    assert two.relevant(FRAMES).tolist() == [True, True, True, False, False, True]
    assert two.intervals(FRAMES) == [(0, 2), (5, 5)]
    assert not nothing.relevant(FRAMES).any() and nothing.intervals(FRAMES) == []


def test_without_moments_file_visible_frames_count(root, caplog):
    (root / "valid_u" / "moments.json").unlink()
    with caplog.at_level(logging.WARNING):
        data = read_mevis(root, "valid_u")
    assert len(caplog.records) == 1 and "moments.json" in caplog.text
    one, two, broken, nothing = data.videos[0].expressions
    assert one.moments == {"0": ((0, 5),)}
    assert two.moments["1"] == ((1, 2), (5, 5))
    assert broken.moments == {"1": ((1, 3), (5, 5))}
    assert nothing.moments == {}


def test_union_moments_count_for_each_object(root):
    def union(content):
        content["videos"]["clip"]["expressions"]["1"] = {"objects": {"*": [[2, 4]]}}

    edit(root, "moments.json", union)
    two = read_mevis(root, "valid_u").videos[0].expressions[1]
    assert two.moments == {"0": ((2, 4),), "1": ((2, 4),)}


def test_split_without_masks(root, caplog):
    (root / "valid_u" / "mask_dict.json").unlink()

    def strip(content):
        for entry in content["videos"]["clip"]["expressions"].values():
            del entry["obj_id"], entry["anno_id"]

    edit(root, "meta_expressions.json", strip)
    edit(
        root,
        "moments.json",
        lambda c: c["videos"]["clip"]["expressions"].update({"0": {"objects": {"*": [[1, 2]]}}}),
    )
    one, *_, nothing = read_mevis(root, "valid_u").videos[0].expressions
    assert one.objects is None and one.masks is None
    assert one.mask(0) is None
    assert one.intervals(FRAMES) == [(1, 2)] and not one.no_target and nothing.no_target
    (root / "valid_u" / "moments.json").unlink()
    one = read_mevis(root, "valid_u").videos[0].expressions[0]
    assert one.relevant(FRAMES) is None and one.intervals(FRAMES) is None and not one.no_target
    assert "not known" in caplog.text


def test_files_of_v2_are_found_under_their_names(root, caplog):
    folder = root / "valid_u"
    (folder / "meta_expressions.json").rename(folder / "meta_expressions_v2.json")
    edit(root, "meta_expressions_v2.json", lambda c: c["videos"]["clip"].update(vid_id=3, audio=1))
    assert read_mevis(root, "valid_u").num_expressions == 4
    # the release of `valid`: masks may lie there, but it is not said whose they are
    (folder / "meta_expressions_v2.json").rename(folder / "meta_expressions_v2_release.json")

    def strip(content):
        for entry in content["videos"]["clip"]["expressions"].values():
            del entry["obj_id"], entry["anno_id"]

    edit(root, "meta_expressions_v2_release.json", strip)
    (folder / "moments.json").unlink()
    one = read_mevis(root, "valid_u").videos[0].expressions[0]
    assert one.objects is None and one.masks is None and one.moments is None
    assert len(caplog.records) == 1 and "moments are not known" in caplog.text
    (folder / "meta_expressions.json").write_text('{"videos": {}}')
    assert read_mevis(root, "valid_u").num_expressions == 0
    assert "the first is read" in caplog.text


def test_frames_come_as_they_are_listed_and_paths_are_made_when_indexed(root):
    """Masks are listed in that order; names need not have as many digits each."""
    edit(root, "meta_expressions.json", lambda c: c["videos"]["clip"]["frames"].reverse())
    frames = read_mevis(root, "valid_u").videos[0].frames
    assert [f.stem for f in frames] == [f"{i:05d}" for i in reversed(range(FRAMES))]
    assert frames[-1] == frames[FRAMES - 1] and frames[1:3] == (frames[1], frames[2])
    again = read_mevis(root, "valid_u").videos[0].frames
    assert frames == again and frames == tuple(frames) and len({frames, again, tuple(frames)}) == 1
    with pytest.raises(IndexError):
        frames[FRAMES]


@pytest.mark.parametrize(
    "name",
    ["../../../escaped", "/etc/x", "a\\b", "nul", "COM1.txt", "a\0b", "..", " ", "x.", "c:d"],
)
def test_names_that_would_leave_the_folder_are_refused(root, name):
    def rename(content):
        expressions = content["videos"]["clip"]["expressions"]
        expressions[name] = expressions.pop("0")

    edit(root, "meta_expressions.json", rename)
    with pytest.raises(InputError, match="no safe name") as error:
        read_mevis(root, "valid_u")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "  ", "the dog \udce9"])
def test_expressions_that_say_nothing_are_refused_when_the_set_is_opened(root, text):
    edit(
        root,
        "meta_expressions.json",
        lambda c: c["videos"]["clip"]["expressions"]["1"].update(exp=text),
    )
    with pytest.raises(InputError, match="video clip, expression 1"):
        read_mevis(root, "valid_u")


@pytest.mark.parametrize("suffix", [".JPG", ".png"])
def test_frames_of_another_suffix_are_found(root, suffix):
    folder = root / "valid_u" / "JPEGImages" / "clip"
    for path in list(folder.iterdir()):
        Image.open(path).save(path.with_suffix(suffix))
        path.unlink()
    video = read_mevis(root, "valid_u").videos[0]
    assert video.frames[0].suffix == suffix and video.size() == (HEIGHT, WIDTH)


def test_records_travel_to_worker_processes(root):
    video = read_mevis(root, "valid_u").videos[0]
    copy = pickle.loads(pickle.dumps(video))
    assert (copy.expressions[1].mask(1) == video.expressions[1].mask(1)).all()


@pytest.mark.parametrize(
    "rle", [{"size": [4, 5], "counts": "35<"}, {"size": [12, 20], "counts": "zzz"}]
)
def test_masks_that_do_not_fit_are_named(root, rle):
    edit(root, "mask_dict.json", lambda c: c["11"].__setitem__(1, rle))
    one, two, *_ = read_mevis(root, "valid_u").videos[0].expressions
    assert one.mask(1).any() and two.mask(0).any()
    with pytest.raises(InputError, match=r"00001\.jpg is damaged: (size|counts)"):
        two.mask(1)


def drop_annotation(content):
    del content["11"]


def shorten_track(content):
    content["10"].pop()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mask_dict.json", drop_annotation, "annotation 11"),
        ("mask_dict.json", shorten_track, "5 masks for 6"),
        ("moments.json", lambda c: c.update(version=2), "version 2"),
        ("moments.json", lambda c: c["videos"].clear(), "no entry"),
        (
            "moments.json",
            lambda c: c["videos"]["clip"]["expressions"]["0"]["objects"].update({"0": [[4, 6]]}),
            r"\[4, 6\]",
        ),
        (
            "moments.json",
            lambda c: c["videos"]["clip"]["expressions"]["0"].update(objects={"7": [[0, 1]]}),
            "object 7",
        ),
        ("meta_expressions.json", lambda c: c.pop("videos"), "videos"),
        ("meta_expressions.json", lambda c: c["videos"]["clip"].pop("frames"), "clip: no list of"),
        (
            "meta_expressions.json",
            lambda c: c["videos"]["clip"]["frames"].clear(),
            "clip: no frame",
        ),
        (
            "meta_expressions.json",
            lambda c: c["videos"]["clip"]["frames"].__setitem__(0, "nowhere"),
            "nowhere.jpg",
        ),
    ],
)
def test_broken_files_are_named_in_one_line(root, name, change, message):
    edit(root, name, change)
    with pytest.raises(InputError, match=message) as caught:
        read_mevis(root, "valid_u")
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_missing_things_are_named(root):
    with pytest.raises(InputError, match="no such folder"):
        read_mevis(root, "train")
    with pytest.raises(InputError, match="no video 'other'"):
        read_mevis(root, "valid_u").video("other")
    (root / "valid_u" / "moments.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        read_mevis(root, "valid_u")
    (root / "valid_u" / "meta_expressions.json").unlink()
    with pytest.raises(InputError, match=r"meta_expressions\.json: no such file"):
        read_mevis(root, "valid_u")


def test_damaged_pictures_are_named(tmp_path):
    path = tmp_path / "0.jpg"
    path.write_bytes(b"\xff\xd8\xff nonsense")
    with pytest.raises(InputError, match=r"0\.jpg: a damaged picture"):
        Pictures([path])[0]
    with pytest.raises(InputError, match="no such frame"):
        Pictures([tmp_path / "1.jpg"])[0]
