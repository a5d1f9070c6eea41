# SPDX-License-Identifier: MIT
"""What happens in one run: the machine, the network, and the blows, all drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Event = tuple[float, str, tuple[Any, ...]]
"""When [ms], what, and with which numbers: a method of `World.Events` and its arguments."""


@dataclass(frozen=True)
class Case:
    """One run as a function of this.

    Attributes:
        seed: Of everything random in the run itself.
        end_ms: Its length.
        events: What is done to it.
        load: Costs are so many times higher, in the mean, and now and then much higher.
        plan_ms: Time that a plan takes at no load.
        drain_ms: Time that the guard's receiving thread takes for a message at no load.
        discover_ms: Time until a new guard hears plans and joint states, is heard, and sees the
            controller.
        by_arrival: The executor takes things in the order of their coming, not by kind.
        speed: Of the motions that are planned [rad/s].
        wild: Share of plans that are spoilt: elsewhere, late, or with another gripper.
        joint_hz: Rate of the joint states.
        joints_ms: Network delay of joint states, to both nodes.
        plans_ms: Network delay between policy and guard, both ways.
        lose_joints: Share of joint states that get lost; so of the others.
        lose_plans: Plans, from the policy to the guard.
        lose_words: What the guard says to the policy.
        operator_ms: After that time in a fault somebody resets the guard; 0 for nobody.
        guard: Parameters of the guard that differ from the defaults.
    """

    seed: int = 0
    end_ms: float = 2600.0
    events: tuple[Event, ...] = ()
    load: float = 1.0
    plan_ms: float = 15.0
    drain_ms: float = 0.3
    discover_ms: tuple[float, float, float, float] = (50.0, 150.0, 100.0, 50.0)
    by_arrival: bool = False
    speed: float = 0.8
    wild: float = 0.0
    joint_hz: float = 100.0
    joints_ms: float = 0.3
    plans_ms: float = 0.3
    lose_joints: float = 0.0
    lose_plans: float = 0.0
    lose_words: float = 0.0
    operator_ms: float = 0.0
    guard: Mapping[str, Any] = field(default_factory=lambda: {"max_recoveries": 1000})


def grid_case(kind: str, number: int) -> Case:
    """The guard is stopped (`blink`) or killed and started again (`kill`) in mid-motion."""
    dice = random.Random(f"{kind} {number}")
    load = dice.choice([1.0, 1.0, 3.0, 6.0])
    at_ms = dice.uniform(1200, 1700)
    for_ms = dice.uniform(20, 700) if kind == "blink" else dice.uniform(300, 1200)
    plan_ms, drain_ms = dice.choice([5.0, 15.0, 30.0]), dice.choice([0.1, 0.5, 2.0])
    speed = dice.choice([0.8, 1.2])
    discover = tuple(dice.choice([10.0, 50.0, 100.0, 200.0, 400.0]) for _ in range(4))
    what = "stop" if kind == "blink" else "kill"
    return Case(
        seed=number,
        end_ms=3600.0 if kind == "blink" else 4200.0,
        events=((at_ms, what, ("guard", for_ms)),),
        load=load,
        plan_ms=plan_ms,
        drain_ms=drain_ms,
        discover_ms=discover,
        speed=speed,
        operator_ms=0.0 if kind == "blink" else 300.0,
    )


def random_case(seed: int) -> Case:
    """Anything, in any combination."""
    dice = random.Random(f"guard run {seed}")
    end_ms = dice.uniform(2000.0, 3500.0)
    streamed = dice.random() < 0.12
    guard: dict[str, Any] = {"max_recoveries": dice.choice([3, 1000])}
    if streamed:
        guard["output"] = "position"
    if dice.random() < 0.2:
        guard["soft_start_s"] = 0.5
    joints_ms, plans_ms = (
        dice.uniform(0.0, 300.0) if dice.random() < 0.1 else dice.choice([0.3, 0.3, 5.0, 30.0])
        for _ in range(2)
    )
    load, joint_hz = dice.choice([1.0, 1.0, 2.0, 4.0, 8.0]), dice.choice([100, 200, 500, 1000])
    return Case(
        seed=seed,
        end_ms=end_ms,
        events=_events(dice, end_ms),
        load=load,
        plan_ms=min(dice.choice([2.0, 5.0, 15.0, 30.0, 60.0]), 80.0 / load),
        # a thread that cannot keep up with the joint states hears nothing else either
        drain_ms=min(dice.choice([0.02, 0.1, 0.5, 2.0]), 300.0 / joint_hz),
        discover_ms=tuple(dice.choice([10.0, 50.0, 100.0, 200.0, 400.0]) for _ in range(4)),
        by_arrival=dice.random() < 0.5,
        speed=dice.choice([0.4, 0.8, 1.2, 2.0]),
        wild=dice.choice([0.0, 0.0, 0.0, 0.2, 0.4]),
        joint_hz=float(joint_hz),
        joints_ms=joints_ms,
        plans_ms=plans_ms,
        lose_joints=dice.choice([0.0, 0.0, 0.1, 0.5]),
        lose_plans=dice.choice([0.0, 0.0, 0.1, 0.3]),
        lose_words=dice.choice([0.0, 0.0, 0.0, 0.3, 1.0]),
        operator_ms=dice.choice([0.0, 50.0, 200.0, 200.0]),
        guard=guard,
    )


KINDS = {
    "stop_guard": 30,
    "kill_guard": 10,
    "outage": 10,
    "estop": 8,
    "pause": 8,
    "reset": 6,
    "farewell": 8,
    "stop_policy": 5,
    "kill_policy": 4,
    "clock": 6,
    "twin": 3,
    "terminate": 3,
    "spike": 5,
}
"""How often each kind is drawn."""


def _events(dice: random.Random, end_ms: float) -> tuple[Event, ...]:
    events: list[Event] = []
    at_ms = dice.uniform(500.0, end_ms - 900.0)
    for _ in range(dice.choice([0, 1, 1, 2, 2, 3, 4])):
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        events += _event(dice, kind, at_ms)
        # much of what goes wrong does so when the next blow comes within the last one
        near = dice.random() < 0.5
        at_ms = at_ms + dice.uniform(-80.0, 80.0) if near else dice.uniform(400.0, end_ms - 700.0)
        at_ms = max(at_ms, 1.0)
    return tuple(sorted(events))


def _event(dice: random.Random, kind: str, at_ms: float) -> list[Event]:
    what, _, whom = kind.partition("_")
    if what == "stop" and dice.random() < 0.5:
        steps = dice.choice([dice.randrange(20), dice.randrange(200)])
        return [(at_ms, "fuse", (whom, dice.uniform(5.0, 700.0), steps))]
    if what == "stop":
        return [(at_ms, "stop", (whom, dice.uniform(5.0, 700.0)))]
    if what in ("kill", "terminate"):
        return [(at_ms, what, (whom or "guard", dice.uniform(50.0, 800.0)))]
    if kind == "outage":
        link = dice.choice(["joints", "guard_joints", "plans", "words"])
        return [(at_ms, "outage", (link, dice.uniform(50.0, 600.0), dice.random() < 0.5))]
    if kind == "estop":
        up_ms = at_ms + dice.uniform(5.0, 300.0)
        events: list[Event] = [(at_ms, "estop", (True,)), (up_ms, "estop", (False,))]
        if dice.random() < 0.7:
            events.append((up_ms + dice.uniform(1.0, 200.0), "reset", ()))
        return events
    if kind == "pause":
        events = [(at_ms, "pause", (True,))]
        if dice.random() < 0.8:
            events.append((at_ms + dice.uniform(5.0, 400.0), "pause", (False,)))
        return events
    if kind == "farewell":
        return [(at_ms, "farewell", (dice.uniform(20.0, 500.0),))]
    if kind == "clock":
        return [(at_ms, "clock", (dice.choice([-1, 1]) * 10 ** dice.uniform(1.0, 3.7),))]
    if kind == "twin":
        return [(at_ms, "twin", (dice.uniform(10.0, 300.0),))]
    if kind == "spike":
        return [(at_ms, "spike", (dice.uniform(50.0, 500.0), dice.uniform(5.0, 40.0)))]
    return [(at_ms, kind, ())]
