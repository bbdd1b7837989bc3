"""Which sentences may be mirrored, cropped and recoloured: sentences in the style of MeViS,
Ref-YouTube-VOS and RefCOCO."""

import numpy as np
import pytest

from tgl_e2e.data.nouns import listed
from tgl_e2e.data.synthetic import make_scene
from tgl_e2e.data.wording import bears_crop, mirror_text, names_colour

MIRRORED = {
    # neither side is named
    "the elephant walking and turning around": "the elephant walking and turning around",
    "Two birds flying away together": "Two birds flying away together",
    "a person in bright clothes standing upright": "a person in bright clothes standing upright",
    "the light brighter than the others": "the light brighter than the others",
    # sides
    "the panda on the left": "the panda on the right",
    "The first cat from the right": "The first cat from the left",
    "the person on the far left side": "the person on the far right side",
    "the second sheep from left": "the second sheep from right",
    "a man to the left of the white car": "a man to the right of the white car",
    "the dog left of the tree": "the dog right of the tree",
    "a fish in the bottom right corner": "a fish in the bottom left corner",
    "the bottom-left monkey climbing": "the bottom-right monkey climbing",
    "the leftmost giraffe": "the rightmost giraffe",
    "the left most zebra": "the right most zebra",
    "the person on the right-hand side": "the person on the left-hand side",
    "Left guy": "Right guy",
    "LEFT": "RIGHT",
    "right": "left",
    "on left": "on right",
    "the rabbit raising its right paw": "the rabbit raising its left paw",
    "a boy waving his left hand": "a boy waving his right hand",
    "the car in the left lane": "the car in the right lane",
    # directions
    "the horse moving left": "the horse moving right",
    "the lizard crawling from left to right": "the lizard crawling from right to left",
    "monkey jumping from the right to the left": "monkey jumping from the left to the right",
    "the bus turning right and driving on": "the bus turning left and driving on",
    "The dog looking left, then lying down": "The dog looking right, then lying down",
    "the cat shaking its head left and right": "the cat shaking its head right and left",
    "a plane flying slowly left": "a plane flying slowly right",
    "the truck that went left": "the truck that went right",
    "the fish swimming leftwards": "the fish swimming rightwards",
    "the man going towards the left of the screen": "the man going towards the right of the screen",
    "the man on the right turning left": "the man on the left turning right",
    "left-to-right moving train": "right-to-left moving train",
}

REFUSED = [
    # "left" as a verb
    "the man that left the room",
    "the bird which left the nest",
    "the one who has left",
    "the person on the left left the frame",
    "the dog that was left behind",
    "the boy left alone on the grass",
    "the woman that just left",
    "the girl looking right and left the field",
    "the man standing left the stage",
    "the player at the top left the field",
    "the last apple left on the plate",
    "man left",
    "what is left of the cake",
    "what's left of it",
    "the boat left most of the others",
    "the one looking right, left his dog",
    "the man turning right and left the frame",
    "the people who leaned left and right left the room",
    # "right" as an adverb or an adjective of another kind
    "the dog right behind the man",
    "the cat sitting right next to the sofa",
    "Right in front of the bus",
    "the rabbit running right through the fence",
    "the cat that is right beside the bowl",
    "the bird that flies right away",
    "the car moving right after the truck",
    "the car driving the right way",
    "the man giving the thumbs up that it is all right",
    "a pole leaning at right angles",
    "a person turning the turtle right side up",
    # nothing to swap
    "the wheel spinning clockwise",
    "the girl turning counter-clockwise",
    "the dancer rotating anticlockwise",
    "the hand at three o'clock",
    "the leftmost of the three elephants",
    "the rightmost of them",
    "the left most of the ducks",
    "the left-handed batter",
    "the player wearing number ten",
    "the car with 23 on its door",
    "the sign that says stop",
    "the shirt with letters on it",
    "the boat going west",
    # written differently
    "lady on rt",
    "lft guy",
    "guy on the l",
    "leftside man",
    "the farleft dog",
    "the one raising its lEft paw",
]


@pytest.mark.parametrize(("text", "mirrored"), MIRRORED.items())
def test_sides_are_swapped_and_nothing_else(text, mirrored):
    assert mirror_text(text) == mirrored
    assert mirror_text(mirrored) == text


@pytest.mark.parametrize("text", REFUSED)
def test_what_may_not_be_a_side_is_refused(text):
    assert mirror_text(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *MIRRORED,
        *REFUSED,
        "turns left turns right",
        "left left right",
        "Right, LEFT and left",
        "the dog to the right, left of the tree",
        "",
        "  the  left\tdog \n",
    ],
)
def test_mirroring_twice_gives_the_sentence_back(text):
    once = mirror_text(text)
    assert once is None or mirror_text(once) == text


def test_any_row_of_words_comes_back():
    rng = np.random.default_rng(0)
    sides = ["left", "right", "Left", "RIGHT", "leftmost", "right-hand", "top-left"]
    others = listed(
        "the on to from and then , who is moving turned far most of side bright its "
        "behind slowly dog"
    )
    mirrored = 0
    for _ in range(3000):
        text = " ".join(rng.choice([*sides, *others], rng.integers(1, 8)))
        once = mirror_text(text)
        if once is not None:
            assert mirror_text(once) == text
            mirrored += once != text
    assert mirrored > 200


def test_sentences_of_the_generator_keep_their_meaning():
    """Its grammar means sides alone by these words, so every word has to be swapped."""
    sides = 0
    for seed in range(150):
        for expression in make_scene(seed, level="full").expressions:
            mirrored = mirror_text(expression.text)
            if mirrored is None:
                continue
            assert mirror_text(mirrored) == expression.text
            swap = {"left": "right", "right": "left"}
            for old, new in zip(expression.text.split(), mirrored.split(), strict=True):
                found = [side for side in swap if side in old]
                sides += len(found)
                assert new == (old.replace(found[0], swap[found[0]]) if found else old)
    assert sides > 50


@pytest.mark.parametrize(
    "text",
    listed(
        "the elephant walking and turning around|the bird flying away|two dogs playing|the red car|"
        "the cat jumping down from the table|a person riding a bike|the man lifting a box|"
        "the horse that is running faster and faster",
        "|",
    ),
)
def test_sentences_about_the_objects_themselves_bear_a_crop(text):
    assert bears_crop(text)


@pytest.mark.parametrize(
    "text",
    listed(
        "the dog on the left|a fish in the corner|the largest elephant|the middle one|guy on rt|"
        "the smallest bird|the one entering the scene|the cat leaving|the second horse|"
        "the duck that disappears|the man next to the car|the person behind the desk|"
        "the sheep between two dogs|the car at the top|the bird farther than the other|"
        "the only one standing|the boat closest to the camera|all the birds|the last cow|"
        "the tiger moving out of view|the rightmost goat|bottom-left monkey",
        "|",
    ),
)
def test_places_ranks_and_neighbours_forbid_a_crop(text):
    assert not bears_crop(text)


def test_colours_are_noticed():
    coloured = "the red car|Dark dog|a man in a grey shirt|the multi-colored parrot|the blonde girl"
    for text in listed(f"{coloured}|an orange|light blue kite|the darker of the two", "|"):
        assert names_colour(text), text
    for text in ("the dog running", "a hundred birds", "the bored man", "the flight of a tandem"):
        assert not names_colour(text), text
