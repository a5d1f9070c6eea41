# SPDX-License-Identifier: MIT
"""A harness for faults that need no process of their own: the real nodes in virtual time, so that
every bound is exact. It has the methods of the harness of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from std_srvs.srv import SetBool, Trigger

from difftori_ros.types import GuardState, Trajectory
from tests.support.promises import REST_WITHIN_S, assert_promises
from tests.support.virtual.clock import MS
from tests.support.virtual.fault_world import FaultWorld
from tests.support.virtual.guard import without_rclpy
from tests.support.virtual.policy_node import with_policy
from tests.support.virtual.timeline import story

MOVING = 0.05
"""Joint speed above which the arm is in mid-motion [rad/s]."""
SETTLED_NS = 1_000 * MS
"""Time in which every stream has shown its rhythm [ns]."""
STEP_NS = 2 * MS
"""Time between two looks at whether what is waited for has come [ns]."""


class NotInTimeError(AssertionError):
    """What was waited for has not come."""


def assert_within(within_s: float, since_ns: int, told_ns: int) -> None:
    """What was told at a time was told no later than that after another [ns]."""
    assert told_ns, "never told"
    took_s = (told_ns - since_ns) * 1e-9
    assert took_s <= within_s, f"wanted within {within_s:.3f} s, took {took_s:.3f} s"


class VirtualHarness:
    """Guard and policy in front of an arm that can be disturbed; P1 to P4 are checked.

    Attributes:
        world: Everything.
        arm: The robot's side.
        follows: Whether the arm has always followed what it was sent: then the judge of the runs
            has the last word on P1.
    """

    def __init__(
        self,
        checkpoint: str = "pick_cube_state",
        *,
        policy: dict[str, Any] | None = None,
        guard: dict[str, Any] | None = None,
        rest_within_s: float = REST_WITHIN_S,
    ):
        """Start them; without a `checkpoint` the guard alone."""
        self._stack = ExitStack()
        self.world = FaultWorld(checkpoint, policy, guard)
        self.arm = self.world.arm
        self._stack.enter_context(without_rclpy(self.world))
        self.world.begin()
        if checkpoint:
            self._stack.enter_context(with_policy(self.world))
        self.follows, self._rest_within_s = True, rest_within_s
        self.world.judge.rest_s = rest_within_s

    def close(self) -> None:
        """Nobody is at work any more."""
        self.world.timeline.close()
        self._stack.close()

    # time ----------------------------------------------------------------------------------------

    def until(
        self,
        done: Callable[[], object],
        limit_s: float = 10.0,
        each: Callable[[], object] | None = None,
    ) -> None:
        """Let time pass until `done()`; fail when it does not come true within `limit_s` [s]."""
        end_ns = self.world.timeline.now_ns + round(limit_s * 1e9)
        while not done():
            self.world.timeline.run(STEP_NS)
            if each is not None:
                each()
            if self.world.timeline.now_ns > end_ns:
                told = [f"{name}: {self.newest(name)}" for name in self.world.received]
                raise NotInTimeError("\n".join([f"not within {limit_s} s", *told]))

    def run(self, seconds: float) -> None:
        """Let time pass [s]."""
        self.world.timeline.run(round(seconds * 1e9))

    def moving(self, since_ns: int) -> None:
        """Until it `moves`."""
        self.until(lambda: self.moves(since_ns))

    def moves(self, since_ns: int) -> bool:
        """Whether plans made after that are accepted and the arm is in mid-motion."""
        if not self.world.reports or self.arm.speed <= MOVING:
            return False
        report = self.world.reports[-1]
        return report.state is GuardState.TRACKING and (report.accepted_ns or 0) > since_ns

    def begin(self) -> None:
        """The arm is in mid-motion, as it has been for a while, and nothing was heard yet."""
        self.moving(self.arm.now_ns() + SETTLED_NS)
        self.forget()

    # what is done --------------------------------------------------------------------------------

    def inject(self, mode: str) -> None:
        """The planner has the fault of that mode from now on; "" for none."""
        self.world.planner_fault = mode

    def unplug(self) -> None:
        """There are no controllers any more."""
        self.arm.unplug()
        self.world.controlled = False

    def plug_in(self) -> None:
        """The arm's controllers are back."""
        self.arm.plug_in()
        self.world.controlled = True

    def reset(self, node: str = "guard_node") -> Any:
        """The answer of a node that was asked to forget what is latched."""
        return self._call(node, "~/reset", Trigger.Request())

    def pause(self, wanted: bool) -> Any:
        """The guard's answer to being paused or resumed."""
        return self._call("guard_node", "~/pause", SetBool.Request(data=wanted))

    def _call(self, node: str, service: str, request: Any) -> Any:
        whose = self.world.policy if node == "policy_node" else self.world.guard
        answers: list[Any] = []
        whose.call(service, request, answers.append)
        self.until(lambda: answers, 1.0)
        return answers[0]

    # what is heard -------------------------------------------------------------------------------

    def newest(self, name: str) -> dict[str, str]:
        """Values of the newest status of a node, with its sentence under `message`."""
        received = self.world.received[name]
        return received[-1].values if received else {}

    def guard(self, key: str = "state") -> str:
        """What the guard has said last."""
        return self.newest("guard_node").get(key, "")

    def policy(self, key: str = "code") -> str:
        """What the policy has said last."""
        return self.newest("policy_node").get(key, "")

    def log(self, name: str) -> str:
        """What the policy has written to its log."""
        assert name == "policy_node"
        return "\n".join(self.world.policy.log)

    def dropped(self, stream: str) -> int:
        """Messages of a stream that the policy has counted as unusable."""
        told = self.newest("policy_node").items()
        return sum(int(count) for key, count in told if key.startswith(f"dropped_{stream}"))

    def told(self, name: str, key: str, since_ns: int = 0) -> list[str]:
        """What a node has told under a key since then, each once, in order."""
        received = [one for one in self.world.received[name] if one.at_ns >= since_ns]
        return list(dict.fromkeys(one.values[key] for one in received if key in one.values))

    def codes(self, name: str, since_ns: int = 0) -> list[str]:
        """The codes that a node has told since then, each once, in order."""
        return self.told(name, "code", since_ns)

    def first(self, name: str, key: str, value: str, since_ns: int = 0) -> int:
        """When a node first told that since then [ns]; 0 when it has not."""
        for one in self.world.received[name]:
            if one.at_ns >= since_ns and one.values.get(key) == value:
                return one.at_ns
        return 0

    @property
    def commands(self) -> list[Trajectory]:
        """Commands to the controllers, since it was last told to forget them."""
        return [one.command for one in self.world.sent]

    @property
    def plans(self) -> list[Trajectory]:
        """Plans of the policy, since then."""
        return self.world.plans

    def forget(self) -> None:
        """What was heard is forgotten, but for the newest statuses."""
        self.world.sent.clear()
        self.world.plans.clear()
        for received in (*self.world.received.values(), self.world.reports):
            del received[:-1]

    # promises ------------------------------------------------------------------------------------

    def assert_rests(self, since_ns: int, within_s: float = REST_WITHIN_S) -> None:
        """P3: from `within_s` after `since_ns` on the arm stands still, for half a second."""
        end_ns = since_ns + round(within_s * 1e9)
        self.until(lambda: self.arm.now_ns() > end_ns + 500_000_000)
        later = [state for state in self.arm.history if state.stamp_ns > end_ns]
        assert later
        assert max(float(np.abs(state.velocity[:7]).max()) for state in later) < 1e-6

    def check(self) -> None:
        """P1 to P4 hold for everything that was heard, and for all that was judged."""
        sent = self.world.sent
        assert_promises(
            self.commands,
            [one.at_ns for one in sent],
            self.world.reports,
            self.world.profile,
            rest_within_s=self._rest_within_s,
            measured=[one.measured for one in sent] if self.follows else None,
        )
        breaches = self.world.judge.tally.breaches if self.follows else []
        if breaches:
            raise AssertionError(f"{story(self.world, breaches[0].at_ms)}\n{breaches}")


def virtual_harness(*given: Any, **named: Any) -> Iterator[VirtualHarness]:
    """A harness for one test."""
    made = VirtualHarness(*given, **named)
    try:
        yield made
    finally:
        made.close()
