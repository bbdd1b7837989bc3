"""Who is in a scene and what each does, before any time or place is fixed.

Cue control happens here: the target's distractors get the same looks and motions except for the one
cue that shall decide. So does the split `valid`: pairs of colour and motion and of shape and motion
that train and valid_u never show (see `held_out`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tgl_e2e.data.nouns import pick

from .describe import ATTRIBUTES
from .motions import DIRECTIONS, EASY_MOTIONS, MOTIONS, WITH_PARTNER, possible
from .scene import Cast, Look, Plan, Retry, Segment, Setting
from .shapes import COLOURS, SHAPES, SIZES

# Motions that would blur what the cue says.
NOT_WITH = {
    "size": ("growing", "shrinking"),
    "place": ("growing", "shrinking", "stopping", "entering", "leaving"),
}


def held_out(motion: str, colour: str | None = None, shape: str | None = None) -> bool:
    """Whether a pair is kept for the split `valid`: a seventh of either table, fixed for ever."""
    m = MOTIONS.index(motion)
    if m == 0:
        return False
    return (colour is not None and (3 * COLOURS.index(colour) + 2 * m) % 7 == 0) or (
        shape is not None and (2 * SHAPES.index(shape) + 3 * m) % 7 == 3
    )


def step_held_out(step, look) -> bool:
    """`held_out` for a step or segment of an object; rolling left is moving left as well."""
    names = [step.motion]
    if step.motion in ("rolling", "following", "entering", "leaving"):
        names.append(f"moving {step.direction}")
    return any(held_out(name, look.colour, look.shape) for name in names)


def draw_cast(setting: Setting, kind: str, decided: bool, rng: np.random.Generator) -> Cast:
    """Draws what the kind of the primary expression leaves open."""
    if setting.simple:
        count = int(rng.integers(3 if setting.split == "valid" else 2, 5))
    elif setting.split == "valid":
        count = int(rng.integers(4, 8))
    else:
        count = int(rng.choice(6, p=(0.08, 0.24, 0.26, 0.2, 0.13, 0.09))) + 2
    if setting.static:
        return Cast(kind, None, count, True)
    banned = ("stopping", "following") if kind == "compound" else ()
    if setting.cue == "motion":
        decided = False  # one that looks the same there must be
    elif setting.by_looks:
        banned += (*WITH_PARTNER, *NOT_WITH.get(setting.cue, ()))
        decided = setting.simple or bool(rng.random() < 0.4)
        if setting.cue == "place" or not decided:
            count = max(count, 3)
    motions = [m for m in setting.motions if m not in banned]
    # Those with a partner are nobody's by-the-way, so they get their share here.
    weights = np.array([2.0 if m in WITH_PARTNER else 1.0 for m in motions])
    motion = str(rng.choice(motions, p=weights / weights.sum()))
    if motion in WITH_PARTNER and not decided:
        count = max(count, 3)
    return Cast(kind, motion, count, decided)


def draw_plans(setting: Setting, cast: Cast, rng: np.random.Generator) -> list[Plan]:
    """Looks and motions of the objects of a scene; the first is the target."""
    planner = _Planner(setting, cast, rng)
    return planner.still() if setting.static else planner.moving()


@dataclass(frozen=True)
class _Planner:
    setting: Setting
    cast: Cast
    rng: np.random.Generator

    def still(self) -> list[Plan]:
        count, cue = self.cast.count, self.setting.cue
        target = self._look(count)
        if cue is None:
            looks = [self._look(count)]
            for _ in range(count - 1):
                # Most differ from an earlier one in a single respect, so that each word counts.
                near = pick(looks, self.rng)
                looks.append(self._vary(near) if self.rng.random() < 0.6 else self._look(count))
            return [Plan(look) for look in looks]
        if cue == "place":
            return [Plan(target)] * count
        others = [self._vary(target, cue) for _ in range(count - 1)]
        if count > 2 and self.rng.random() < 0.15:
            others[0] = target  # for a plural
        return [Plan(look) for look in (target, *others)]

    def moving(self) -> list[Plan]:
        setting, kind, main = self.setting, self.cast.kind, self.cast.motion
        target = self._target_look()
        looks = self._distractors(target)
        plans = [Plan(target, self._target_steps(target))]
        for i, look in enumerate(looks):
            twin = look == target
            shares_main = setting.by_looks and i == 0
            if setting.cue is None and not twin and kind != "motion":
                shares_main = main in self._allowed(look) and self.rng.random() < 0.5
            if shares_main:
                steps = self._steps(look, first=main)
            else:
                alone = twin or kind == "motion" or setting.cue in ("motion", *ATTRIBUTES)
                steps = self._steps(look, never=main if alone else None, at_least=int(i == 0))
            plans.append(Plan(look, steps))
        if kind == "several" and not any(plan.steps for plan in plans[1:]):
            raise Retry
        alike = len(plans) > 1 and plans[1].look == target
        if kind == "compound" and alike and self.rng.random() < 0.5:
            # The hardest distractor does the same things the other way round.
            plans[1] = Plan(target, _in_order(plans[0].steps[::-1]))
        if main in WITH_PARTNER:
            plans = self._with_partner(plans)
        shown = (step_held_out(step, plan.look) for plan in plans for step in plan.steps)
        if setting.split != "valid" and any(shown):
            raise Retry
        return plans

    def _look(self, count: int) -> Look:
        """Anything; crowds are made of smaller objects."""
        sizes = (0.3, 0.4, 0.3) if count < 5 else (0.5, 0.4, 0.1)
        size = str(self.rng.choice(SIZES, p=sizes))
        names = ("colour", "shape", "fill")
        return Look(*[str(self.rng.choice(self.setting.values(name))) for name in names], size)

    def _vary(self, look: Look, attribute: str | None = None) -> Look:
        """A look that differs in one attribute."""
        values = self.setting.values
        if attribute is None:
            attribute = str(self.rng.choice([a for a in ATTRIBUTES if len(values(a)) > 1]))
        others = [value for value in values(attribute) if value != getattr(look, attribute)]
        return replace(look, **{attribute: str(self.rng.choice(others))})

    def _allowed(self, look: Look) -> list[str]:
        """Motions that such an object may show in this split."""
        return [
            motion
            for motion in self.setting.motions
            if possible(motion, look.shape, look.fill, look.size)
            and (self.setting.split == "valid" or not held_out(motion, look.colour, look.shape))
        ]

    def _target_look(self) -> Look:
        """A look for the decisive motion; in `valid` always a pair that train never shows."""
        main = self.cast.motion
        while True:
            look = self._look(self.cast.count)
            unseen = held_out(main, look.colour, look.shape)
            if main in self._allowed(look) and unseen == (self.setting.split == "valid"):
                return look

    def _distractors(self, target: Look) -> list[Look]:
        """Looks of all objects but the target."""
        cue, count, decided = self.setting.cue, self.cast.count, self.cast.decided
        if cue == "place":
            # Alike, at another place; one more that makes the motion count.
            return [target] * (count - 1)
        if self.setting.by_looks:
            candidates = (self._vary(target, cue) for _ in range(24))
            main = self.cast.motion
            first = next((look for look in candidates if main in self._allowed(look)), None)
            if first is None:
                raise Retry
            others = [self._vary(target, cue) for _ in range(count - 2)]
            if not decided and others:
                others[0] = target
            return [first, *others]
        looks: list[Look] = []
        for i in range(count - 1):
            if not decided and (i == 0 or self.rng.random() < 0.35):
                looks.append(target)
            elif looks and self.rng.random() < 0.4:
                looks.append(pick(looks, self.rng))
            else:
                near = pick([target, *looks], self.rng)
                looks.append(self._vary(near) if self.rng.random() < 0.7 else self._look(count))
        return looks

    def _target_steps(self, look: Look) -> tuple[Segment, ...]:
        main = self.cast.motion
        if main == "following":
            return (Segment(main),)
        more = 1 if self.cast.kind == "compound" else int(self.rng.random() < 0.6)
        steps = self._steps(look, first=main, extra=more)
        tied = any(step.motion in ("entering", "leaving", "falling") for step in steps)
        if main == "approaching" and tied:
            raise Retry  # both would say where the way has to lie
        return steps

    def _steps(
        self,
        look: Look,
        first: str | None = None,
        never: str | None = None,
        extra: int | None = None,
        at_least: int = 0,
    ) -> tuple[Segment, ...]:
        """Different motions in random order; `first` is one of them, `never` is not."""
        free = [m for m in self._allowed(look) if m not in (never, first, *WITH_PARTNER)]
        if extra is None:
            shares = (0.12, 0.38, 0.5, 0) if self.setting.easy else (0.08, 0.34, 0.43, 0.15)
            extra = max(int(self.rng.choice(4, p=shares)), at_least) - (first is not None)
        chosen = [first] if first else []
        chosen += [str(m) for m in self.rng.permutation(free)[: max(extra, 0)]]
        if self.setting.cue == "size":
            chosen = [m for m in chosen if m not in ("growing", "shrinking")]
        if "stopping" in chosen:
            # A pause needs a travel before and after it, and leaves no room for more.
            travels = [m for m in free if m in EASY_MOTIONS]
            if len(travels) < 2:
                raise Retry
            before, after = self.rng.permutation(travels)[:2]
            return tuple(self._step(look, str(m)) for m in (before, "stopping", after))
        steps = [self._step(look, motion) for motion in chosen]
        return _in_order([steps[i] for i in self.rng.permutation(len(steps))])

    def _step(self, look: Look, motion: str) -> Segment:
        if motion in EASY_MOTIONS:
            return Segment(motion, direction=motion.removeprefix("moving "))
        if motion in ("rolling", "entering", "leaving"):
            sides = ("left", "right") if motion == "rolling" else tuple(DIRECTIONS)
            steps = [Segment(motion, direction=side) for side in sides]
            valid = self.setting.split == "valid"
            steps = [step for step in steps if valid or not step_held_out(step, look)]
            if not steps:
                raise Retry
            return pick(steps, self.rng)
        return Segment(motion)

    def _with_partner(self, plans: list[Plan]) -> list[Plan]:
        """Gives the target someone to approach or follow: the last object, unlike all others."""
        main, target = self.cast.motion, plans[0]
        taken = {(plan.look.colour, plan.look.shape) for plan in plans[:-1]}
        for _ in range(24):
            look = self._look(len(plans))
            if (look.colour, look.shape) in taken:
                continue
            allowed = self._allowed(look)
            if main == "following":
                both = set(allowed) & set(self._allowed(target.look))
                travels = [m for m in EASY_MOTIONS if m in both]
            else:
                travels = [m for m in allowed if m in (*EASY_MOTIONS, "shaking", "spinning")]
            if not travels or look.colour == target.look.colour:
                continue
            steps = (self._step(look, str(self.rng.choice(travels))),)
            if main == "approaching" and self.rng.random() < 0.5:
                steps = ()
            direction = steps[0].direction if main == "following" else None
            meeting = Segment(main, direction=direction, partner=len(plans) - 1)
            own = tuple(meeting if step.motion == main else step for step in target.steps)
            rest = [
                Plan(plan.look, tuple(step for step in plan.steps if step.motion != main))
                for plan in plans[1:-1]
            ]
            return [Plan(target.look, own), *rest, Plan(look, steps)]
        raise Retry


def _in_order(steps) -> tuple[Segment, ...]:
    """Entering comes first, leaving last; never both."""
    names = [step.motion for step in steps]
    if "entering" in names and "leaving" in names:
        steps = [step for step in steps if step.motion != "leaving"]
    rank = {"entering": 0, "leaving": 2}
    return tuple(sorted(steps, key=lambda step: rank.get(step.motion, 1)))
