"""Who is in a scene and what each does, before any time or place is fixed.

Cue control happens here: the target's distractors get the same looks and motions except for the one
cue that shall decide. So does the split `valid`: pairs of colour and motion and of shape and motion
that train and valid_u never show (see `held_out`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .cast import Cast, Look, Plan, Retry, Setting, Step, held_out, step_held_out
from .describe import ATTRIBUTES
from .motions import DIRECTIONS, EASY_MOTIONS, WITH_PARTNER, possible
from .shapes import SIZES


def plan_still(setting: Setting, cast: Cast, rng: np.random.Generator) -> list[Plan]:
    """Looks of the objects of a picture; the first is the target."""
    count = cast.count
    target = _look(setting, count, rng)
    if setting.cue is None:
        looks = [_look(setting, count, rng)]
        for _ in range(count - 1):
            # Half of them differ from an earlier one in a single respect, so that each word counts.
            near = looks[rng.integers(len(looks))]
            looks.append(
                _vary(setting, near, rng) if rng.random() < 0.6 else _look(setting, count, rng)
            )
        return [Plan(look) for look in looks]
    if setting.cue == "place":
        return [Plan(target)] * count
    others = [_vary(setting, target, rng, setting.cue) for _ in range(count - 1)]
    if count > 2 and rng.random() < 0.15:
        others[0] = target  # for a plural
    return [Plan(target), *(Plan(look) for look in others)]


def plan_moving(setting: Setting, cast: Cast, rng: np.random.Generator) -> list[Plan]:
    """Looks and motions of the objects of a video; the first is the target."""
    count, kind, main, decided = cast.count, cast.kind, cast.motion, cast.decided
    target = _target_look(setting, main, count, rng)
    looks = _distractors(setting, target, main, count, decided, rng)
    plans = [Plan(target, _target_steps(setting, target, main, kind, rng))]
    for i, look in enumerate(looks):
        twin = look == target
        shares_main = setting.cue not in (None, "motion") and i == 0
        if setting.cue is None and not twin and kind != "motion":
            shares_main = main in _allowed(setting, look) and rng.random() < 0.5
        if shares_main:
            plans.append(Plan(look, _steps(setting, look, rng, first=main)))
        else:
            alone = twin or kind == "motion" or setting.cue in ("motion", *ATTRIBUTES)
            never = main if alone else None
            at_least = 1 if i == 0 else 0
            plans.append(Plan(look, _steps(setting, look, rng, never=never, at_least=at_least)))
    if kind == "several" and not any(plan.steps for plan in plans[1:]):
        raise Retry
    if kind == "compound" and len(plans) > 1 and plans[1].look == target and rng.random() < 0.5:
        # The hardest distractor does the same things the other way round.
        plans[1] = Plan(target, _in_order(plans[0].steps[::-1]))
    if main in WITH_PARTNER:
        plans = _with_partner(setting, plans, main, rng)
    shown = (step_held_out(step, plan.look) for plan in plans for step in plan.steps)
    if setting.split != "valid" and any(shown):
        raise Retry
    return plans


def _look(setting: Setting, count: int, rng: np.random.Generator) -> Look:
    """Anything; crowds are made of smaller objects."""
    sizes = (0.3, 0.4, 0.3) if count < 5 else (0.5, 0.4, 0.1)
    return Look(
        *(str(rng.choice(setting.values(name))) for name in ("colour", "shape", "fill")),
        size=str(rng.choice(SIZES, p=sizes)),
    )


def _vary(
    setting: Setting, look: Look, rng: np.random.Generator, attribute: str | None = None
) -> Look:
    """A look that differs in one attribute."""
    if attribute is None:
        attribute = str(rng.choice([a for a in ATTRIBUTES if len(setting.values(a)) > 1]))
    others = [value for value in setting.values(attribute) if value != getattr(look, attribute)]
    return replace(look, **{attribute: str(rng.choice(others))})


def _allowed(setting: Setting, look: Look) -> list[str]:
    """Motions that such an object may show in this split."""
    return [
        motion
        for motion in setting.motions
        if possible(motion, look.shape, look.fill, look.size)
        and (setting.split == "valid" or not held_out(motion, look.colour, look.shape))
    ]


def _target_look(setting: Setting, main: str, count: int, rng: np.random.Generator) -> Look:
    """A look for the decisive motion; in `valid` always a pair that train never shows."""
    while True:
        look = _look(setting, count, rng)
        unseen = held_out(main, look.colour, look.shape)
        if main in _allowed(setting, look) and unseen == (setting.split == "valid"):
            return look


def _distractors(
    setting: Setting, target: Look, main: str, count: int, decided: bool, rng: np.random.Generator
) -> list[Look]:
    """Looks of all objects but the target."""
    cue = setting.cue
    if cue == "place":
        # Alike, at another place; one more that makes the motion count.
        return [target] * (count - 1)
    if cue is not None and cue != "motion":
        candidates = (_vary(setting, target, rng, cue) for _ in range(24))
        first = next((look for look in candidates if main in _allowed(setting, look)), None)
        if first is None:
            raise Retry
        others = [_vary(setting, target, rng, cue) for _ in range(count - 2)]
        if not decided and others:
            others[0] = target
        return [first, *others]
    looks: list[Look] = []
    for i in range(count - 1):
        if not decided and (i == 0 or rng.random() < 0.35):
            looks.append(target)
        elif looks and rng.random() < 0.4:
            looks.append(looks[rng.integers(len(looks))])
        else:
            near = [target, *looks][rng.integers(len(looks) + 1)]
            looks.append(
                _vary(setting, near, rng) if rng.random() < 0.7 else _look(setting, count, rng)
            )
    return looks


def _target_steps(
    setting: Setting, look: Look, main: str, kind: str, rng: np.random.Generator
) -> tuple[Step, ...]:
    if main == "following":
        return (Step(main),)
    more = 1 if kind == "compound" else int(rng.random() < 0.6)
    steps = _steps(setting, look, rng, first=main, extra=more)
    tied = any(step.motion in ("entering", "leaving", "falling") for step in steps)
    if main == "approaching" and tied:
        raise Retry  # both would say where the way has to lie
    return steps


def _steps(
    setting: Setting,
    look: Look,
    rng: np.random.Generator,
    first: str | None = None,
    never: str | None = None,
    extra: int | None = None,
    at_least: int = 0,
) -> tuple[Step, ...]:
    """Different motions in random order. first: one that must be there; never: one that may not."""
    free = [m for m in _allowed(setting, look) if m not in (never, first, *WITH_PARTNER)]
    if extra is None:
        shares = (0.12, 0.38, 0.5, 0) if setting.easy else (0.08, 0.34, 0.43, 0.15)
        extra = max(int(rng.choice(4, p=shares)), at_least) - (first is not None)
    chosen = [first] if first else []
    chosen += [str(m) for m in rng.permutation(free)[: max(extra, 0)]]
    if setting.cue == "size":
        chosen = [m for m in chosen if m not in ("growing", "shrinking")]
    if "stopping" in chosen:
        # A pause needs a travel before and after it, and leaves no room for more.
        travels = [m for m in free if m in EASY_MOTIONS]
        if len(travels) < 2:
            raise Retry
        before, after = rng.permutation(travels)[:2]
        return tuple(_step(setting, look, str(m), rng) for m in (before, "stopping", after))
    steps = [_step(setting, look, motion, rng) for motion in chosen]
    return _in_order([steps[i] for i in rng.permutation(len(steps))])


def _step(setting: Setting, look: Look, motion: str, rng: np.random.Generator) -> Step:
    if motion in EASY_MOTIONS:
        return Step(motion, motion.removeprefix("moving "))
    if motion in ("rolling", "entering", "leaving"):
        sides = ("left", "right") if motion == "rolling" else tuple(DIRECTIONS)
        steps = [Step(motion, side) for side in sides]
        steps = [s for s in steps if setting.split == "valid" or not step_held_out(s, look)]
        if not steps:
            raise Retry
        return steps[rng.integers(len(steps))]
    return Step(motion)


def _in_order(steps) -> tuple[Step, ...]:
    """Entering comes first, leaving last; never both."""
    names = [step.motion for step in steps]
    if "entering" in names and "leaving" in names:
        steps = [step for step in steps if step.motion != "leaving"]
    rank = {"entering": 0, "leaving": 2}
    return tuple(sorted(steps, key=lambda step: rank.get(step.motion, 1)))


def _with_partner(
    setting: Setting, plans: list[Plan], main: str, rng: np.random.Generator
) -> list[Plan]:
    """Gives the target someone to approach or follow: the last object, unlike all others."""
    last = len(plans) - 1
    taken = {(plan.look.colour, plan.look.shape) for plan in plans[:-1]}
    for _ in range(24):
        look = _look(setting, len(plans), rng)
        if (look.colour, look.shape) in taken:
            continue
        if main == "following":
            both = set(_allowed(setting, look)) & set(_allowed(setting, plans[0].look))
            travels = [m for m in EASY_MOTIONS if m in both]
        else:
            travels = [
                m for m in _allowed(setting, look) if m in (*EASY_MOTIONS, "shaking", "spinning")
            ]
        if not travels or look.colour == plans[0].look.colour:
            continue
        steps = (_step(setting, look, str(rng.choice(travels)), rng),)
        if main == "approaching" and rng.random() < 0.5:
            steps = ()
        direction = steps[0].direction if main == "following" else None
        target = tuple(
            Step(main, direction, last) if step.motion == main else step for step in plans[0].steps
        )
        rest = [
            Plan(plan.look, tuple(step for step in plan.steps if step.motion != main))
            for plan in plans[1:-1]
        ]
        return [Plan(plans[0].look, target), *rest, Plan(look, steps)]
    raise Retry
