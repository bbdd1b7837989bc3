"""Expressions of other videos that mean nothing in a video."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.foreign import ForeignExpressions, apart, words_of
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.recorded import RecordedClips
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the two dogs on the left", {"dog"}),
        ("A man riding horses", {"person", "riding", "horse"}),
        ("the motorbike and its rider", {"motorcycle", "person"}),
        ("the one that moves", {"move"}),
    ],
)
def test_words_that_tell_what_is_meant(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("the white dog", "a white boat", True),
        ("the big animal", "a duck swimming", False),  # a duck is one
        ("the goose", "the bird that flies", False),
        ("a car", "the bus", True),  # both vehicles, but neither is the other
        ("the woman", "the rider jumping", False),
    ],
)
def test_what_is_apart(one, other, expected):
    assert apart(words_of(one), words_of(other)) == expected
    assert apart(words_of(other), words_of(one)) == expected


def dataset(*videos):
    return SimpleNamespace(
        videos=[
            SimpleNamespace(expressions=[SimpleNamespace(text=text) for text in texts])
            for texts in videos
        ]
    )


def test_only_what_names_a_thing_and_fits_nowhere_is_drawn():
    foreign = ForeignExpressions([dataset(["the dog", "the one turning"], ["a red car"])])
    rng = np.random.default_rng(0)
    assert {foreign.draw(["a red car"], rng) for _ in range(30)} == {"the dog"}
    assert {foreign.draw(["the dog"], rng) for _ in range(30)} == {"a red car"}
    assert foreign.draw(["the dog near the car"], rng) is None
    assert ForeignExpressions([dataset(["the one turning"])]).draw(["a cat"], rng) is None


def test_clips_ask_in_vain_as_often_as_told(tmp_path):
    """Two videos of drawn shapes, given expressions about things that the list knows."""
    write_split(tmp_path, "train", videos=2, seed=5, level="easy", recording=Recording((64, 64)))
    path = tmp_path / "train" / "meta_expressions.json"
    content = json.loads(path.read_text())
    for noun, video in zip(("dog", "car"), content["videos"].values(), strict=True):
        for one in video["expressions"].values():
            one["exp"] = f"the {noun}"
    path.write_text(json.dumps(content))
    data = read_mevis(tmp_path, "train")
    nouns = {video.name: video.expressions[0].text.split()[1] for video in data.videos}
    clips = RecordedClips([data], ClipOptions(num_frames=4, size=64, foreign_share=0.5), 60, 1)
    vain = 0
    for index in range(60):
        clip = clips[index]
        if nouns[clip.name.split(":")[1]] not in clip.text:
            vain += 1
            assert not clip.target.any() and not clip.relevant.any()
    assert 20 <= vain <= 40
    never = RecordedClips([data], ClipOptions(num_frames=4, size=64), 60, 1)
    assert all(nouns[never[i].name.split(":")[1]] in never[i].text for i in range(10))
