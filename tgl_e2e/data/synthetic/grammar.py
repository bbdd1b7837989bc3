"""Sentences: a description put into lower-case English, with synonyms and word orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgl_e2e.data.nouns import listed, pick
from tgl_e2e.data.nouns import plural as many

from .describe import Action, Description

# Whose -ing form and third person are not made as _forms makes them.
IRREGULAR = {"travel": ("travelling", "travels"), "go": ("going", "goes")}
DOUBLED = listed("hop drop spin get stop")
# What can be said about a motion: the first word is the verb, "X" the partner.
PHRASES = {
    "moving left": "left, to the left, leftwards, towards the left",
    "moving right": "right, to the right, rightwards, towards the right",
    "moving up": "up, upwards, towards the top",
    "moving down": "down, downwards, towards the bottom",
    "jumping": "jump, jump up and down, hop, hop on the spot, leap into the air",
    "falling": "fall, fall down, drop to the ground, fall to the ground, tumble down",
    "spinning": "spin, spin around, rotate, turn around itself, twirl, spin on the spot",
    "rolling": "roll, roll along, roll over the ground",
    "growing": "grow, grow bigger, get bigger, become larger, expand",
    "shrinking": "shrink, get smaller, become smaller, shrink in size",
    "shaking": "shake, tremble, shake from side to side, quiver",
    "circling": "move in a circle, go round in circles, circle around, travel in a circle",
    "stopping": "pause on its way, stop for a while before it goes on, stand still between two "
    "moves, halt for a moment on its way, stand still before it goes on",
    "entering": "enter, come in, come into view, enter the picture, appear at the edge",
    "leaving": "leave, leave the picture, go out of view, disappear at the edge",
    "approaching": "approach X, move towards X, come closer to X, head for X",
    "following": "follow X, chase X, go after X, move behind X",
}
PHRASES = {motion: listed(phrases, ", ") for motion, phrases in PHRASES.items()}
ANY_WAY = ("move", "move", "go", "slide", "glide", "travel")
OWN_VERBS = {"up": ("rise", "climb up"), "down": ("sink", "descend")}

NOUNS = dict(
    circle="disc",
    ring="hoop",
    cross="plus sign",
    crescent="moon",
    diamond="rhombus",
    tree="fir tree",
)
PLURALS = {"cross": "crosses", "fish": "fishes", "rhombus": "rhombuses"}
ANYTHING = ("thing", "object", "shape")
FILL_WORDS = {
    "plain": (("plain", ""), ("solid", "")),
    "stripes": (("striped", ""), ("striped", ""), ("", "with stripes")),
    "dots": (("dotted", ""), ("spotted", ""), ("", "with dots")),
}
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium",), "big": ("big", "large")}
PLACE_WORDS = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "in the upper part"),
    "bottom": ("at the bottom", "in the lower part"),
}
EXTREMES = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "bottommost"}


def sentence(
    descriptions: Sequence[Description], rng: np.random.Generator, plural: bool = False
) -> str:
    """One sentence for one description, or for several objects described one by one.

    plural: the one description means more than one object.
    """
    if plural:
        return _plural_clause(descriptions[0], rng)
    clauses = [_clause(description, rng) for description in descriptions]
    if len(clauses) == 1:
        return clauses[0]
    joint = pick((" and ", " and ", " and also ", " as well as ", ", and ", " together with "), rng)
    start = "both " if len(clauses) == 2 and joint == " and " and rng.random() < 0.15 else ""
    return start + joint.join(clauses)


def noun_phrase(description: Description, rng: np.random.Generator, plural: bool = False) -> str:
    """ "the big striped red star on the left"; "red star" without an article now and then."""
    before, after = [], []
    if description.size is not None:
        before.append(pick(SIZE_WORDS[description.size], rng))
    if description.fill is not None:
        adjective, behind = pick(FILL_WORDS[description.fill], rng)
        before.append(adjective)
        after.append(behind)
    if description.colour is not None:
        before.append(description.colour)
    if description.place is not None:
        if rng.random() < 0.15:
            before.insert(0, EXTREMES[description.place])
        else:
            after.append(pick(PLACE_WORDS[description.place], rng))
    if description.shape is not None:
        noun = description.shape
        if noun in NOUNS and rng.random() < 0.12:
            noun = NOUNS[noun]
    else:
        noun = pick(("one", "one", *ANYTHING) if any(before) else ANYTHING, rng)
    if plural:
        noun = PLURALS.get(noun) or many(noun)
        article = pick(("the", "the", "all", "all the"), rng)
    else:
        article = "" if description.shape is not None and rng.random() < 0.1 else "the"
    return " ".join(word for word in (article, *before, noun, *after) if word)


def _clause(description: Description, rng: np.random.Generator) -> str:
    """A noun phrase with what it does."""
    nothing_else = description.appearance() == Description()
    if description.action is None:
        return noun_phrase(description, rng)
    doing, does, _ = _verb_phrase(description.action, rng)
    if nothing_else and rng.random() < 0.3:
        name, relative = pick(("what", "whatever"), rng), ""
    elif nothing_else:
        name, relative = pick(("the thing", "the one", "the object", "the shape"), rng), "that "
    else:
        name, relative = noun_phrase(description, rng), pick(("that ", "that ", "which "), rng)
    if description.then is None:
        if relative:
            short, long = f"{name} {doing}", f"{name} {relative}"
            return pick((short, short, f"{long}{does}", f"{long}is {doing}"), rng)
        return pick((f"{name} {does}", f"{name} is {doing}"), rng)
    doing_then, does_then, _ = _verb_phrase(description.then, rng)
    orders = [
        f"{name} {relative}{does} and then {does_then}",
        f"{name} {relative}first {does} and then {does_then}",
        f"{name} {relative}{does} before {doing_then}",
        f"{name} {relative}{does_then} after {doing}",
    ]
    if relative:
        orders.append(f"{name} {doing} and then {doing_then}")
        orders.append(f"{name} first {doing}, then {doing_then}")
    return pick(orders, rng)


def _plural_clause(description: Description, rng: np.random.Generator) -> str:
    """ "all red stars moving left", "everything that moves left"."""
    if description.action is None:
        return noun_phrase(description, rng, plural=True)
    doing, does, do = _verb_phrase(description.action, rng)
    do, doing_many = _of_many(do), _of_many(doing)
    if description.appearance() == Description() and rng.random() < 0.4:
        return pick((f"everything that {does}", f"everything {doing}"), rng)
    name = noun_phrase(description, rng, plural=True)
    orders = (f"{name} {doing_many}", f"{name} that {do}", f"{name} which are {doing_many}")
    return pick(orders, rng)


def _of_many(phrase: str) -> str:
    """A verb phrase with its pronouns in the plural."""
    phrase = phrase.replace(" its way", " their way").replace(" it goes", " they go")
    return phrase.replace("itself", "themselves")


def _verb_phrase(action: Action, rng: np.random.Generator) -> tuple[str, str, str]:
    """One motion as -ing form, third person singular, and plural."""
    phrase = pick(PHRASES[action.motion], rng)
    if action.motion.startswith("moving "):
        own = OWN_VERBS.get(action.motion.removeprefix("moving "))
        way = own and rng.random() < 0.25
        phrase = pick(own, rng) if way else f"{pick(ANY_WAY, rng)} {phrase}"
    if action.direction is not None:
        phrase = f"{phrase} {pick(PHRASES['moving ' + action.direction][1:], rng)}"
    if action.partner is not None:
        phrase = phrase.replace("X", noun_phrase(action.partner, rng))
    verb, _, rest = phrase.partition(" ")
    return tuple(f"{form} {rest}".strip() for form in (*_forms(verb), verb))


def _forms(verb: str) -> tuple[str, str]:
    """The -ing form and the third person singular of a verb."""
    if verb in IRREGULAR:
        return IRREGULAR[verb]
    stem = verb + verb[-1] if verb in DOUBLED else verb.removesuffix("e")
    return f"{stem}ing", f"{verb}{'es' if verb.endswith('ch') else 's'}"
