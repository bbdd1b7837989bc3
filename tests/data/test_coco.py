"""Photographs in COCO's format: reading, expressions about instances, clips, and mixtures."""

import json

import numpy as np
import pytest
import torch
from small_coco import IMAGES, SIZE, write_coco

from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.coco import read_coco
from tgl_e2e.data.nouns import naming, plural, wider, with_article
from tgl_e2e.data.picture_expressions import Seen, colour_of, draw_expression
from tgl_e2e.data.pictures import PictureClips, read_coco_expressions
from tgl_e2e.errors import InputError
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.data import training_clips, validation_clips


@pytest.fixture
def root(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path, "val")
    return tmp_path


def test_instances_are_read_as_they_are_outlined(root):
    images = read_coco(root, "train").images
    assert [image.path.name for image in images] == ["a.jpg", "b.jpg"]
    ids = images[0].ids()
    for number, instance in enumerate(images[0].instances, start=1):
        box = next(
            b for c, b, _ in IMAGES["a.jpg"] if (b[2] - b[0]) * (b[3] - b[1]) == instance.area
        )
        expected = np.zeros(SIZE, bool)
        expected[box[1] : box[3], box[0] : box[2]] = True
        assert (ids == number).sum() == expected.sum() and ((ids == number) == expected).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("categories"), "categories"),
        (lambda c: c["annotations"][0].pop("segmentation"), "segmentation"),
        (lambda c: c["annotations"].clear(), "no image"),
    ],
)
def test_what_is_not_of_the_format_is_named(root, change, named):
    path = root / "instances_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=named) as error:
        read_coco(root, "train")
    assert "\n" not in str(error.value)


# --- expressions ------------------------------------------------------------------------------

LEFT = Seen(1, "cat", 0.05, 0.2, 0.4, (0.1, 0.3, 0.3, 0.5), 0.0, colour="red")
RIGHT = Seen(2, "cat", 0.15, 0.8, 0.5, (0.6, 0.3, 0.95, 0.8), 0.0)
DOG = Seen(3, "dog", 0.04, 0.5, 0.9, (0.4, 0.8, 0.6, 1.0), 0.0)


def said(seen, absent=(), share=0.0, count=400) -> dict[str, set]:
    rng = np.random.default_rng(0)
    found: dict[str, set] = {}
    for _ in range(count):
        one = draw_expression(seen, absent, share, rng)
        if one is not None:
            found.setdefault(one.text, set()).add(one.numbers)
    return found


def test_each_expression_means_one_thing():
    found = said([LEFT, RIGHT, DOG])
    assert all(len(meant) == 1 for meant in found.values())
    meant = {text: next(iter(numbers)) for text, numbers in found.items()}
    assert meant["the left cat"] == (1,) and meant["the cat on the right"] == (2,)
    assert meant["the largest cat"] == (2,) and meant["the small cat"] == (1,)
    assert meant["the red cat"] == (1,) and meant["the dog"] == (3,)
    assert meant["all cats"] == (1, 2) and set(meant["the animals"]) == {1, 2, 3}
    assert "the cat" not in meant and "a cat" not in meant  # which?


def test_what_is_not_there_has_no_target():
    found = said([DOG], absent=["car"], share=1.0)
    assert found and all(numbers == {()} for numbers in found.values())
    assert "the car" in found


def test_of_what_is_hardly_seen_nothing_is_said():
    cut = Seen(1, "cat", 0.05, 0.2, 0.4, (0, 0, 0.1, 0.1), cut=0.9)
    tiny = Seen(2, "dog", 0.001, 0.2, 0.4, (0, 0, 0.03, 0.03), cut=0.0)
    assert said([cut, tiny]) == {}


def test_riders_are_told_from_what_they_ride():
    bike = Seen(1, "bicycle", 0.1, 0.5, 0.7, (0.3, 0.5, 0.7, 0.9), 0.0)
    rider = Seen(2, "person", 0.1, 0.5, 0.45, (0.4, 0.2, 0.6, 0.8), 0.0)
    found = said([bike, rider])
    assert found["the cyclist"] == {(2,)} and found["the bicycle and its rider"] == {(2, 1)}


def test_colours_are_named_where_they_are_plain():
    def pixels(rgb, noise=8):
        rng = np.random.default_rng(0)
        return (np.array(rgb) + rng.normal(0, noise, (400, 3))).clip(0, 255).astype(np.uint8)

    assert colour_of(pixels((200, 20, 25))) == "red" and colour_of(pixels((30, 60, 210))) == "blue"
    assert (
        colour_of(pixels((20, 22, 20))) == "black" and colour_of(pixels((245, 245, 240))) == "white"
    )
    assert colour_of(pixels((120, 110, 100))) is None
    half = np.concatenate([pixels((200, 20, 25)), pixels((30, 60, 210))])
    assert colour_of(half) is None


def test_words():
    assert plural("person") == "people" and plural("bus") == "buses" and plural("sheep") == "sheep"
    assert plural("wine glass") == "wine glasses" and plural("teddy bear") == "teddy bears"
    assert with_article("animal") == "an animal" and with_article("red cat") == "a red cat"
    assert "animal" in wider("cat") and "vehicle" in wider("racing car") and not wider("kettle")


def test_a_person_is_a_man_or_a_woman_only_where_there_is_no_other():
    one = Seen(1, "person", 0.1, 0.2, 0.4, (0.1, 0.2, 0.3, 0.6), 0.0)
    two = Seen(2, "person", 0.2, 0.7, 0.4, (0.6, 0.1, 0.9, 0.7), 0.0)
    assert {"the woman", "the man", "the person"} <= set(said([one]))
    for text in said([one, two]):
        assert not {"man", "woman", "men", "women"} & set(text.split()), text


def test_names_of_all_nouns_and_what_covers_them():
    nouns = ("bird", "dog", "person", "dining table")
    phrases, covers = naming(nouns, said_as=1)
    assert covers.shape == (len(phrases), 4) and (covers[:4] == np.eye(4)).all()
    animal = next(i for i, phrase in enumerate(phrases) if "animal" in phrase)
    assert covers[animal].tolist() == [1, 1, 0, 0] and len(phrases) == 5
    said_of = {naming(nouns, seed)[0][2] for seed in range(60)}
    assert {"the person", "the people", "a man", "woman"} <= said_of
    assert naming(nouns, 3)[0] == naming(nouns, 3)[0]


# --- clips and mixtures -----------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 4])
def test_clips_are_a_pure_function_of_their_number(root, frames):
    options = ClipOptions(num_frames=frames, size=64, flip=0.5, photometric=0.5, compress_share=0.5)
    clips = PictureClips(read_coco(root, "train"), options, 50, seed=3)
    for index in range(12):
        one, two = clips[index], clips[index]
        assert one.text == two.text and torch.equal(one.frames, two.frames)
        assert one.frames.shape == (frames, 3, 64, 64) and one.target.shape == (frames, 64, 64)
        assert torch.equal(one.relevant, one.target.flatten(1).any(dim=1))
        assert (one.positions.diff() > 0).all()
    assert len({clips[i].text for i in range(30)}) > 5


def test_every_pixel_of_a_clip_has_its_noun(root):
    """Expressions that mean all of a noun mean the pixels that are labelled so."""
    options = ClipOptions(num_frames=1, size=64, flip=0.5)
    clips, held = PictureClips(read_coco(root, "train"), options, 200, seed=3), set()
    assert clips.images.nouns == ("cat", "dog")
    for index in range(60):
        clip = clips[index]
        label, target = clip.labels["noun"][0], clip.target[0, 2::4, 2::4]
        assert clip.nouns == ("cat", "dog") and label.shape == (16, 16)
        for place, noun in enumerate(clip.nouns):
            if clip.text in (f"all {noun}s", f"the {noun}s", f"all the {noun}s", f"a {noun}"):
                held.add(noun)
                assert torch.equal(label == place, target), clip.text
    assert held == {"cat", "dog"}


def test_places_are_those_of_the_crop(root):
    """Flipped or not, "the left cat" lies left of the other one: red is the smaller one."""
    options = ClipOptions(num_frames=1, size=64, flip=0.5)
    clips, seen = PictureClips(read_coco(root, "train"), options, 4000, seed=0), set()
    for index in range(300):
        clip = clips[index]
        if clip.text in ("the left cat", "the cat on the left", "the leftmost cat"):
            columns = clip.target[0].any(dim=0).nonzero()
            cats = clip.frames[0, :, clip.target[0]].float().mean(dim=1)
            seen.add("red" if cats[0] > 120 else "black")
            assert columns.float().mean() < 40
    assert seen == {"red", "black"}  # the left one is now one cat, now the other


def test_datasets_are_mixed_by_shares(root):
    values = {
        "dataset": "coco,motion",
        "root": f"{root},",
        "shares": "0.75,0.25",
        "steps": 20,
        "batch_size": 5,
        "num_frames": 1,
        "static": True,
        "valid_split": "val,",
    }
    options = ClipOptions(num_frames=1, size=64, static=True)
    clips, steps = training_clips(TrainConfig(**values), options)
    assert steps == 20 and len(clips) == 100
    cues = [clips[i].cue == "coco" for i in range(100)]
    assert 60 <= sum(cues) <= 90 and torch.equal(clips[7].frames, clips[7].frames)
    fixed = validation_clips(TrainConfig(**values), options)
    assert {fixed[i].cue for i in range(10)} == {"coco"}
    for shares, said in (("1", "as many"), ("a,b", "numbers"), ("nan,1", "numbers")):
        with pytest.raises(InputError, match=said):
            training_clips(TrainConfig(**{**values, "shares": shares}), options)


def test_a_set_is_evaluated_an_expression_an_instance(root):
    dataset = read_coco_expressions(root, "val")
    texts = {e.id: e.text for video in dataset.videos for e in video.expressions}
    assert len(texts) == 4 and texts == {
        e.id: e.text
        for video in read_coco_expressions(root, "val").videos
        for e in video.expressions
    }
    for video in dataset.videos:
        for expression in video.expressions:
            assert expression.mask(0).any() and expression.relevant(1).all()
