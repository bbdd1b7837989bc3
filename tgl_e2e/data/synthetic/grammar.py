"""Sentences: a description put into lower-case English, with synonyms and word orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tgl_e2e.data.nouns import plural as many

from .describe import Action, Description

# base form: -ing form, third person singular
VERBS = {
    "move": ("moving", "moves"),
    "go": ("going", "goes"),
    "slide": ("sliding", "slides"),
    "glide": ("gliding", "glides"),
    "travel": ("travelling", "travels"),
    "rise": ("rising", "rises"),
    "climb": ("climbing", "climbs"),
    "sink": ("sinking", "sinks"),
    "descend": ("descending", "descends"),
    "jump": ("jumping", "jumps"),
    "hop": ("hopping", "hops"),
    "leap": ("leaping", "leaps"),
    "fall": ("falling", "falls"),
    "drop": ("dropping", "drops"),
    "tumble": ("tumbling", "tumbles"),
    "spin": ("spinning", "spins"),
    "rotate": ("rotating", "rotates"),
    "turn": ("turning", "turns"),
    "twirl": ("twirling", "twirls"),
    "roll": ("rolling", "rolls"),
    "grow": ("growing", "grows"),
    "get": ("getting", "gets"),
    "become": ("becoming", "becomes"),
    "expand": ("expanding", "expands"),
    "shrink": ("shrinking", "shrinks"),
    "shake": ("shaking", "shakes"),
    "tremble": ("trembling", "trembles"),
    "quiver": ("quivering", "quivers"),
    "circle": ("circling", "circles"),
    "stop": ("stopping", "stops"),
    "pause": ("pausing", "pauses"),
    "halt": ("halting", "halts"),
    "stand": ("standing", "stands"),
    "enter": ("entering", "enters"),
    "come": ("coming", "comes"),
    "appear": ("appearing", "appears"),
    "leave": ("leaving", "leaves"),
    "disappear": ("disappearing", "disappears"),
    "approach": ("approaching", "approaches"),
    "head": ("heading", "heads"),
    "follow": ("following", "follows"),
    "chase": ("chasing", "chases"),
}
# What can be said about a motion: the first word is the verb, "X" the partner.
PHRASES = {
    "moving left": ("left", "to the left", "leftwards", "towards the left"),
    "moving right": ("right", "to the right", "rightwards", "towards the right"),
    "moving up": ("up", "upwards", "towards the top"),
    "moving down": ("down", "downwards", "towards the bottom"),
    "jumping": ("jump", "jump up and down", "hop", "hop on the spot", "leap into the air"),
    "falling": ("fall", "fall down", "drop to the ground", "fall to the ground", "tumble down"),
    "spinning": (
        "spin",
        "spin around",
        "rotate",
        "turn around itself",
        "twirl",
        "spin on the spot",
    ),
    "rolling": ("roll", "roll along", "roll over the ground"),
    "growing": ("grow", "grow bigger", "get bigger", "become larger", "expand"),
    "shrinking": ("shrink", "get smaller", "become smaller", "shrink in size"),
    "shaking": ("shake", "tremble", "shake from side to side", "quiver"),
    "circling": ("move in a circle", "go round in circles", "circle around", "travel in a circle"),
    "stopping": (
        "pause on its way",
        "stop for a while before it goes on",
        "stand still between two moves",
        "halt for a moment on its way",
        "stand still before it goes on",
    ),
    "entering": ("enter", "come in", "come into view", "enter the picture", "appear at the edge"),
    "leaving": ("leave", "leave the picture", "go out of view", "disappear at the edge"),
    "approaching": ("approach X", "move towards X", "come closer to X", "head for X"),
    "following": ("follow X", "chase X", "go after X", "move behind X"),
}
ANY_WAY = ("move", "move", "go", "slide", "glide", "travel")
OWN_VERBS = {"up": ("rise", "climb up"), "down": ("sink", "descend")}

NOUNS = {
    "circle": ("disc",),
    "ring": ("hoop",),
    "cross": ("plus sign",),
    "crescent": ("moon",),
    "diamond": ("rhombus",),
    "tree": ("fir tree",),
}
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
        (description,) = descriptions
        return _plural_clause(description, rng)
    clauses = [_clause(description, rng) for description in descriptions]
    if len(clauses) == 1:
        return clauses[0]
    joint = _pick(
        (" and ", " and ", " and also ", " as well as ", ", and ", " together with "), rng
    )
    start = "both " if len(clauses) == 2 and joint == " and " and rng.random() < 0.15 else ""
    return start + joint.join(clauses)


def noun_phrase(description: Description, rng: np.random.Generator, plural: bool = False) -> str:
    """ "the big striped red star on the left"; "red star" without an article now and then."""
    before, after = [], []
    if description.size is not None:
        before.append(_pick(SIZE_WORDS[description.size], rng))
    if description.fill is not None:
        adjective, behind = _pick(FILL_WORDS[description.fill], rng)
        before.append(adjective)
        after.append(behind)
    if description.colour is not None:
        before.append(description.colour)
    if description.place is not None:
        if rng.random() < 0.15:
            before.insert(0, EXTREMES[description.place])
        else:
            after.append(_pick(PLACE_WORDS[description.place], rng))
    if description.shape is not None:
        noun = description.shape
        if noun in NOUNS and rng.random() < 0.12:
            noun = _pick(NOUNS[noun], rng)
    else:
        noun = _pick(("one", "one", *ANYTHING) if any(before) else ANYTHING, rng)
    if plural:
        noun = PLURALS.get(noun) or many(noun)
        article = _pick(("the", "the", "all", "all the"), rng)
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
        name, relative = _pick(("what", "whatever"), rng), ""
    elif nothing_else:
        name, relative = _pick(("the thing", "the one", "the object", "the shape"), rng), "that "
    else:
        name, relative = noun_phrase(description, rng), _pick(("that ", "that ", "which "), rng)
    if description.then is None:
        if relative:
            short, long = f"{name} {doing}", f"{name} {relative}"
            return _pick((short, short, f"{long}{does}", f"{long}is {doing}"), rng)
        return _pick((f"{name} {does}", f"{name} is {doing}"), rng)
    doing_then, does_then, _ = _verb_phrase(description.then, rng)
    orders = [
        f"{name} {relative}{does} and then {does_then}",
        f"{name} {relative}first {does} and then {does_then}",
        f"{name} {relative}{does} before {doing_then}",
        f"{name} {relative}{does_then} after {doing}",
    ]
    if relative:
        orders += [
            f"{name} {doing} and then {doing_then}",
            f"{name} first {doing}, then {doing_then}",
        ]
    return _pick(orders, rng)


def _plural_clause(description: Description, rng: np.random.Generator) -> str:
    """ "all red stars moving left", "everything that moves left"."""
    if description.action is None:
        return noun_phrase(description, rng, plural=True)
    doing, does, do = _verb_phrase(description.action, rng)
    do, doing_many = _of_many(do), _of_many(doing)
    if description.appearance() == Description() and rng.random() < 0.4:
        return _pick((f"everything that {does}", f"everything {doing}"), rng)
    name = noun_phrase(description, rng, plural=True)
    orders = (f"{name} {doing_many}", f"{name} that {do}", f"{name} which are {doing_many}")
    return _pick(orders, rng)


def _of_many(phrase: str) -> str:
    """A verb phrase with its pronouns in the plural."""
    phrase = phrase.replace(" its way", " their way").replace(" it goes", " they go")
    return phrase.replace("itself", "themselves")


def _verb_phrase(action: Action, rng: np.random.Generator) -> tuple[str, str, str]:
    """One motion as -ing form, third person singular, and plural."""
    phrase = _pick(PHRASES[action.motion], rng)
    if action.motion.startswith("moving "):
        own = OWN_VERBS.get(action.motion.removeprefix("moving "), ())
        if own and rng.random() < 0.25:
            phrase = _pick(own, rng)
        else:
            phrase = f"{_pick(ANY_WAY, rng)} {phrase}"
    if action.direction is not None:
        phrase = f"{phrase} {_pick(PHRASES['moving ' + action.direction][1:], rng)}"
    if action.partner is not None:
        phrase = phrase.replace("X", noun_phrase(action.partner, rng))
    verb, _, rest = phrase.partition(" ")
    doing, does = VERBS[verb]
    return tuple(f"{form} {rest}".strip() for form in (doing, does, verb))


def _pick(choices: Sequence, rng: np.random.Generator):
    return choices[rng.integers(len(choices))]
