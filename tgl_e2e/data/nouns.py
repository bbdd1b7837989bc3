"""Nouns of things in photographs: plurals, and the wider words that cover them."""

from __future__ import annotations

# Wider word -> what it covers, in the words of COCO's classes; head nouns of cut-outs too.
WIDER = {
    "animal": "bird cat dog horse sheep cow elephant bear zebra giraffe frog duck hen chicken fish "
    "turtle tortoise snake lizard rabbit pig goat squirrel monkey camel lion tiger fox wolf mouse "
    "penguin owl eagle crow swan goose parrot butterfly bee beetle spider crab kangaroo koala deer",
    "bird": "duck hen chicken penguin owl eagle crow swan goose parrot pigeon heron gull rooster",
    "vehicle": "bicycle car motorcycle bus train truck boat airplane ship tractor van helicopter",
    "food": "banana apple sandwich orange broccoli carrot donut cake pizza strawberry tomato pear",
    "fruit": "banana apple orange strawberry pear lemon cherry",
    "furniture": "chair couch bed bench stool",
    "dish": "bowl cup plate",
    "piece of luggage": "suitcase backpack handbag",
    "electronic device": "tv laptop microwave oven toaster refrigerator",
}
WIDER = {word: frozenset(covered.split()) for word, covered in WIDER.items()}
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
IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "sheep": "sheep",
    "fish": "fish",
    "knife": "knives",
    "mouse": "mice",
    "goose": "geese",
    "food": "food",
    "furniture": "furniture",
    "skis": "skis",
    "scissors": "scissors",
    "piece of luggage": "pieces of luggage",
    "broccoli": "broccoli",
}


def plural(noun: str) -> str:
    """The plural of a noun phrase: of its last word."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    before, _, last = noun.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{before} {last}".strip()


def wider(noun: str) -> tuple[str, ...]:
    """The wider words that cover a noun phrase; by its last word."""
    head = noun.split()[-1] if noun.split() else noun
    return tuple(word for word, covered in WIDER.items() if noun in covered or head in covered)


def with_article(phrase: str) -> str:
    """ "a dog", "an animal"."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
