"""Nouns of things in photographs: plurals, and the wider words that cover them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np


def listed(text: str, mark: str | None = None) -> tuple[str, ...]:
    """The words (or what stands between marks) of a text: a table that is read as it is written."""
    return tuple(text.split(mark))


def pick(choices: Sequence, rng: np.random.Generator):
    """One of the choices, each as likely."""
    return choices[rng.integers(len(choices))]


# Wider word -> what it covers, in the words of COCO's classes; head nouns of cut-outs too.
WIDER = {
    "animal": "bird cat dog horse sheep cow elephant bear zebra giraffe frog duck hen chicken fish "
    "turtle tortoise snake lizard rabbit bunny pig goat squirrel monkey camel lion tiger fox wolf "
    "penguin owl eagle crow swan goose parrot butterfly bee beetle spider crab kangaroo koala deer "
    "badger beaver bison bull donkey gorilla chimpanzee hedgehog hippopotamus iguana marmot otter "
    "orca ostrich peacock pelican ram rat rhino seagull gull seahorse shrimp toucan turkey vulture "
    "whale wombat yak zebu dolphin dingo doe rooster pigeon magpie grasshopper ladybug hornet fly "
    "dragonfly ferret capybara caribou dromedary gnu flamingo heron blackbird bluebird chick drake",
    "bird": "duck hen chicken penguin owl eagle crow swan goose parrot pigeon heron gull rooster "
    "ostrich peacock pelican seagull toucan turkey vulture magpie flamingo blackbird bluebird "
    "chick drake cuckoo lark",
    "insect": "bee beetle butterfly fly ladybug hornet dragonfly grasshopper mantis",
    "vehicle": "bicycle car motorcycle bus train truck boat airplane ship tractor van helicopter "
    "tricycle locomotive tugboat sailboat",
    "food": "banana apple sandwich orange broccoli carrot donut cake pizza strawberry tomato pear "
    "apricot mango peach pineapple pomegranate raspberry eggplant onion potato pepper pumpkin "
    "lemon lime kiwifruit yam",
    "fruit": "banana apple orange strawberry pear lemon cherry apricot mango peach pineapple "
    "pomegranate raspberry kiwifruit",
    "musical instrument": "guitar violin cello trumpet bassoon",
    "furniture": "chair couch bed bench stool",
    "dish": "bowl cup plate",
    "piece of luggage": "suitcase backpack handbag",
    "electronic device": "tv laptop microwave oven toaster refrigerator",
}
WIDER = {word: frozenset(listed(covered)) for word, covered in WIDER.items()}
GENDERED = {"man", "woman"}  # which a class does not say
# What their last word is no name for.
NO_HEAD = listed(
    "hot dog,teddy bear,rubber duck,roast turkey,chocolate easter egg,computer mouse", ","
)
SYNONYMS = {
    "person": ("person", "person", "man", "woman", "human"),
    "motorcycle": ("motorcycle", "motorbike"),
    "bicycle": ("bicycle", "bike"),
    "airplane": ("airplane", "plane"),
    "couch": ("couch", "sofa"),
    "tv": ("tv", "television", "screen"),
    "cell phone": ("cell phone", "phone"),
    "donut": ("donut", "doughnut"),
    "sports ball": ("ball",),
    "potted plant": ("potted plant", "plant"),
    "dining table": ("table", "dining table"),
    "car": ("car", "car", "automobile"),
    "boat": ("boat", "boat", "ship"),
}
SAME = listed("sheep fish deer food furniture skis scissors broccoli")  # in the plural
IRREGULAR = {word: word for word in SAME} | {
    "person": "people",
    "man": "men",
    "woman": "women",
    "knife": "knives",
    "mouse": "mice",
    "goose": "geese",
    "piece of luggage": "pieces of luggage",
}


def plural(noun: str) -> str:
    """The plural of a noun phrase: of its last word."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    before, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("man"):
        last = last[:-3] + "men"
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{before} {last}".strip()


def wider(noun: str) -> tuple[str, ...]:
    """The wider words that cover a noun phrase; by its last word."""
    head = noun if noun in NO_HEAD else (noun.split() or [noun])[-1]
    return tuple(word for word, covered in WIDER.items() if noun in covered or head in covered)


def with_article(phrase: str) -> str:
    """ "a dog", "an animal"."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def naming(nouns: Sequence[str], said_as: int) -> tuple[list[str], np.ndarray]:
    """Phrases for K names: each of M nouns, as it may be called, and each wider word that covers
    one of them.

    Args:
        said_as: seed of which synonym, and in which form.

    Returns:
        K phrases, and (K, M) float32: 1 where the name is said of the noun.
    """
    rng = np.random.default_rng(said_as)
    called = [(SYNONYMS.get(noun, (noun,)), {noun}) for noun in nouns]
    above = {word for noun in nouns for word in wider(noun)} - set(nouns)
    called += [((word,), {n for n in nouns if word in wider(n)}) for word in sorted(above)]
    phrases = []
    for words, _ in called:
        word = pick(words, rng)
        forms = (f"the {word}", f"the {word}", with_article(word), word, f"the {plural(word)}")
        phrases.append(pick(forms, rng))
    covers = [[noun in meant for noun in nouns] for _, meant in called]
    return phrases, np.array(covers, np.float32).reshape(len(called), len(nouns))


@cache
def names_of(noun: str) -> frozenset[str]:
    """All that a thing of this noun may be called: "sports car", "car", "vehicle"."""
    words = noun.split()
    tails = {noun} if noun in NO_HEAD else {" ".join(words[i:]) for i in range(len(words))}
    synonyms = {word for tail in tails for word in SYNONYMS.get(tail, ())}
    return frozenset((tails | synonyms | {w for tail in tails for w in wider(tail)}) - GENDERED)
