"""Expressions of other videos that mean nothing in a video: of things that it does not show.

Recorded data sets seldom ask for what is not there, so that a network learns to answer everything
with whatever it sees. An expression counts as foreign to a video if it names a thing, and none of
its words is said of the video, nor covers or is covered by one that is. A video may show things of
which nobody spoke: such a pair now and then is wrong, and the share should be small. English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tgl_e2e.data.base import VideoDataset
from tgl_e2e.data.nouns import SYNONYMS, WIDER, listed, pick, wider

TRIES = 12
PEOPLE = listed(
    "person people human man men woman women boy boys girl girls child children kid kids baby "
    "guy lady rider biker cyclist motorcyclist surfer windsurfer skater skier skateboarder "
    "player dancer breakdancer hiker runner walker driver someone spectator breakdancers "
    "dancers riders players his her he she who"
)
# Words that say nothing of which thing is meant.
OTHER = listed(
    "a an the and or of on in at to with from into over under through around between by for "
    "its it that which is are was one ones thing things object objects other both all two "
    "three left right top bottom middle front back side big large small little tall long first "
    "last red orange yellow green blue pink black white brown grey gray silver purple light "
    "dark moving standing walking running turning picture frame air water street grass ground"
)
CANONICAL = {word: noun for noun, words in SYNONYMS.items() for word in words}
KNOWN = frozenset(WIDER) | frozenset().union(*WIDER.values()) | frozenset(CANONICAL) | {"person"}


def words_of(text: str) -> frozenset[str]:
    """The words of an expression by which it can be told what it speaks of: "a man on two horses"
    speaks of {person, horse}."""
    found = set()
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in PEOPLE:
            word = "person"
        elif word not in KNOWN and word.endswith("s") and len(word) > 3:
            word = word[:-1]
        found.add(CANONICAL.get(word, word))
    return frozenset(found.difference(OTHER))


def apart(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether no word of one is said in the other, or is a wider word for one that is."""

    def above(words: frozenset[str]) -> frozenset[str]:
        return words | {cover for word in words for cover in wider(word)}

    return not (above(one) & other or one & above(other))


class ForeignExpressions:
    """What may be asked of a video in vain, from the expressions of all videos of the data sets."""

    def __init__(self, datasets: Sequence[VideoDataset]) -> None:
        texts = [e.text for d in datasets for video in d.videos for e in video.expressions]
        said = {text: words_of(text) for text in dict.fromkeys(texts)}
        self._nouns = [(text, words) for text, words in said.items() if words & KNOWN]

    def draw(self, texts: Sequence[str], rng: np.random.Generator) -> str | None:
        """An expression that is foreign to a video of which ``texts`` are said; None if none was
        found in a few tries."""
        here = frozenset().union(*(words_of(text) for text in texts))
        for _ in range(TRIES if self._nouns else 0):
            text, words = pick(self._nouns, rng)
            if apart(words, here):
                return text
        return None
