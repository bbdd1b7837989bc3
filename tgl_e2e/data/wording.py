"""What a sentence allows to be done to its pictures: mirrored, cropped, changed in hue.

The rules ask for evidence that a change is safe and refuse otherwise: a refusal costs one augmented
sample, a mistake teaches that left is right. English only.
"""

from __future__ import annotations

import re

from tgl_e2e.data.nouns import listed

TOKEN = re.compile(r"[A-Za-z][A-Za-z'’-]*|[^\sA-Za-z]+")
SIDE = re.compile(r"left|right", re.IGNORECASE)


# --- mirroring -------------------------------------------------------------------------------

# Things that look different in a mirror and have no word to swap: turning, writing, the compass.
HANDED = re.compile(
    r"clock-?\s?wise|o['’]?\s?clock|\d|side up"
    r"|\b(read|reads|reading|letters?|words?|written|writing|texts?|numbers?|numbered|digits?"
    r"|logos?|says|saying|spell\w*|labell?ed|starboard"
    r"|(north|south)?(east|west)(ern|ward|wards)?)\b",
    re.IGNORECASE,
)
# Typing errors and abbreviations of RefCOCO; they cannot be swapped, so their sentences are kept.
MISSPELT = listed("l r lft lef lhs rt rgt rght rigth rihgt righ rite rhs")
# These contain "right" or "left" and mean something else.
OTHER_WORDS = re.compile(r"(bright|upright|fright|alright|outright|downright|copyright|cleft).*")
COMPOUND = re.compile(r"(left|right)(most|wards?)")
# What may be joined to a side by a hyphen: left-hand, bottom-right, left-to-right.
JOINED = listed(
    "left right hand side most to and bottom top upper lower far mid middle centre center front "
    "back rear facing moving turning going leaning ward wards corner"
)
# Before "left" these make it a verb ("that left"), before "right" an adverb ("is right behind").
VERB_BEFORE = listed(
    "who that which has have had having just is are was were be been being he she it they all "
    "not never finally already nothing anything something everything what's that's it's there's"
)
# After either these do: "left behind", "left alone", "right away", "the right way".
IDIOM_AFTER = listed(
    "behind alone over out off away now next beside through into past way time order moment answer "
    "thing angle angles handed"
)
BEFORE_NOUN = listed("the its his her their my your our")
BEFORE_PLACE = listed("to on from at toward towards facing far upper lower extreme bottom top hind")
DETERMINERS = listed(
    "the a an his her its their this that these those one some each every all both"
    " itself himself herself themselves him them us it"
)
PLACE_AFTER = listed(
    "side sides hand corner part half edge end border leg legs arm arms foot paw paws eye ear lane "
    "wing front rear bottom top shoulder knee wheel direction of"
)
LINKS = listed("to and or then from the ,")
ADVERB_END = listed("and or then slowly quickly again together while with . , ; ! ?")
# Someone does this to the left or right. Finite forms and -ing, spelt out: "building" is a noun.
GOING = re.compile(
    r"(mov|fac|glid|slid|driv|rid|ris|gaz|danc|rotat|skat|cycl)(e|es|ed|ing)"
    r"|(walk|turn|look|head|jump|leap|drift|roll|lean|tilt|shift|point|crawl|sway|veer|steer"
    r"|pull|push|march|float|bend|reach|kick|throw|sprint|climb|wander|gallop|swerv)(s|ed|ing)?"
    r"|(rush|dash|stretch)(es|ed|ing)?|go(es|ing)?|went|runs?|ran|running|swims?|swam|swimming"
    r"|fl(y|ies|ew|ying)|drove|rode|slid|hop(s|ped|ping)?|travel(s|l?ed|l?ing)?|jog(s|ged|ging)?"
    r"|step(s|ped|ping)?|trot(s|ted|ting)?|swing(s|ing)?|swung|spin(s|ning)?|spun|bent"
)


def mirror_text(text: str) -> str | None:
    """The sentence for the mirrored pictures, or None where mirroring is not safe.

    "left" and "right" change places where they name a side or a direction. They do not where
    they may be a verb ("the man that left the room") or an adverb ("right behind the car"), and
    then the pictures must not be mirrored either; nor where something else in the sentence does not
    survive a mirror ("clockwise", writing, numbers). "leftmost" is swapped, "leftmost of" refused.

    Both words are judged by the same rules, so what is safe stays safe when mirrored, and mirroring
    twice gives the sentence back.
    """
    if HANDED.search(text):
        return None
    matches = list(TOKEN.finditer(text))
    tokens = [match.group() for match in matches]
    lower = [token.lower() for token in tokens]
    pieces, done = [], 0
    for i, (match, word) in enumerate(zip(matches, lower, strict=True)):
        if word in MISSPELT:
            return None
        if not SIDE.search(word) or OTHER_WORDS.fullmatch(word):
            continue
        if not _names_side(lower, i) or not _plain_case(tokens[i]):
            return None
        pieces += [text[done : match.start()], SIDE.sub(_other_side, tokens[i])]
        done = match.end()
    return "".join([*pieces, text[done:]])


def _names_side(words: list[str], i: int) -> bool:
    """Whether words[i], which contains "left" or "right", is surely a side or a direction."""
    word = words[i]
    before = words[i - 1] if i and words[i - 1][0].isalpha() else None
    after = words[i + 1] if i + 1 < len(words) else None
    beyond = words[i + 2] if i + 2 < len(words) else None
    if (after == "of" and word.endswith("most")) or (after, beyond) == ("most", "of"):
        return False
    if COMPOUND.fullmatch(word):
        return True
    if "-" in word:
        return all(part in JOINED or COMPOUND.fullmatch(part) for part in word.split("-"))
    if word not in ("left", "right") or before in VERB_BEFORE or after in IDIOM_AFTER:
        return False
    if before in BEFORE_NOUN or after in PLACE_AFTER or _one_of_a_pair(words, i):
        return True
    if before in BEFORE_PLACE:
        return after not in DETERMINERS
    ends = after is None or after in ADVERB_END
    if before is None:  # "left guy", as RefCOCO's sentences begin
        return i == 0 and (ends or after in ("guy", "man", "woman", "person", "one", "girl", "boy"))
    if before.endswith("ly") and i > 1:
        before = words[i - 2]  # "moving slowly left"
    return ends and GOING.fullmatch(before) is not None


def _one_of_a_pair(words: list[str], i: int) -> bool:
    """Whether another side stands beside it: "left and right", "from the left to the right"."""
    for step in (-1, 1):
        j = i + step
        while 0 <= j < len(words) and abs(j - i) <= 2 and words[j] in LINKS:
            j += step
        if j != i + step and 0 <= j < len(words) and words[j] in ("left", "right"):
            first, last = min(i, j), max(i, j)
            verb = first > 0 and words[first - 1] in VERB_BEFORE
            return not verb and (last + 1 == len(words) or words[last + 1] not in DETERMINERS)
    return False


def _plain_case(token: str) -> bool:
    return token.islower() or token.isupper() or token == token.capitalize()


def _other_side(match: re.Match) -> str:
    side = match.group()
    other = "right" if side.lower() == "left" else "left"
    if side.isupper():
        return other.upper()
    return other.capitalize() if side[0].isupper() else other


# --- cropping --------------------------------------------------------------------------------

# Places in the picture and its edge, ranks, and neighbours that a crop may cut off. "smallest" too:
# what the crop cuts in two looks smaller than it is.
WHOLE_PICTURE = re.compile(
    r"\b(\w*(left|right|most|est)\w*|sides?|corners?|middle|cent(er|re)\w*|central|top|bottom|upper"
    r"|lower|edges?|borders?|frames?|screen|picture|image|photo|view|sight|scene|video|shot"
    r"|(back|fore)ground|first|second|third|fourth|fifth|last|row|enter\w*|exit\w*|leav\w*"
    r"|(dis)?appear\w*|vanish\w*|emerg\w*|visible|behind|beside|besides|next|near|nearby|nearer"
    r"|closer|further|farther|far|between|among|amid|front|back|rear|above|below|beneath|under"
    r"|underneath|opposite|than|only|alone|all|every|everyone|everything|other|others|l|r|lft|rt"
    r"|rgt)\b",
    re.IGNORECASE,
)


def bears_crop(text: str) -> bool:
    """Whether the sentence means the same objects when the pictures lose their margins."""
    return WHOLE_PICTURE.search(text) is None


# --- colours ---------------------------------------------------------------------------------

COLOUR = re.compile(
    r"\b(red|reddish|orange|yellow\w*|green\w*|blue|bluish|purple|violet|pink\w*|brown\w*|black"
    r"|white|whitish|gr[ae]y\w*|beige|tan|cream|golden|gold|silver|maroon|turquoise|teal|cyan"
    r"|magenta|navy"
    r"|khaki|olive|blond|blonde|brunette|ginger|dark\w*|light|lighter|bright\w*|pale\w*|colou?r\w*"
    r"|multi-?colou?r\w*)\b",
    re.IGNORECASE,
)


def names_colour(text: str) -> bool:
    """Whether the sentence speaks of a colour, which then has to stay as it is."""
    return COLOUR.search(text) is not None
