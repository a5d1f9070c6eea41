# SPDX-License-Identifier: MIT
"""Processes are killed or stopped in mid-motion: whatever breaks a promise is in the result."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass

import numpy as np

from tests.support.bridged_harness import BridgedHarness
from tests.support.fake_robot import PROFILE
from tests.support.harness import SLACK_S, Harness
from tests.support.promises import REST_WITHIN_S, longest_step

NAMES = ("policy_node", "guard_node", "sim_bridge")
KINDS = tuple((name, kind) for name in NAMES for kind in ("kill", "stop"))
BLINKS = tuple((name, "blink") for name in NAMES)
BLINK_S = (0.1, 0.7)
"""Time that a blink lasts: around that of a plan, and of the guard's patience [s]."""
LATEST_S = 3.0
"""Longest time in motion before the signal [s]."""
BOUND_S = REST_WITHIN_S + SLACK_S
GUARD = {"heartbeat_timeout_s": 0.5, "joint_timeout_s": 0.5, "max_recoveries": 1000}
NAMED_S = 1.0
"""Time in which the guard names it: its patience, and what a shared machine takes [s]."""
CLOCK_S = 1.5
"""Time in which the policy says that the clock stands still, which takes a second [s]."""
KINEMATIC_STILL, SIMULATED_STILL = 1e-6, 2e-3
"""How near to its last position an arm at rest stays, a fake one and a simulated one [rad].
A simulated one that presses on something has velocities, though it goes nowhere."""
STEP_RAD = 0.02
"""How much further than at full speed a joint may get between two samples [rad]."""


@dataclass
class Episode:
    """What became of one signal: times from it to rest, and to its name [s]; None if not known."""

    name: str
    kind: str
    delay_s: float = 0.0
    rest_s: float | None = None
    named_s: float | None = None
    step_rad: float | None = None
    told: str = ""
    violation: str = ""

    @property
    def label(self) -> str:
        """For tables."""
        return f"{self.name} {self.kind}"


class Kills:
    """A harness, and what is done to its processes."""

    def __init__(self, harness: Harness, seed: int | str) -> None:
        self.harness, self._dice = harness, random.Random(seed)
        self._still = SIMULATED_STILL if isinstance(harness, BridgedHarness) else KINEMATIC_STILL

    def episode(self, name: str, kind: str) -> Episode:
        """Send the signal in mid-motion and watch; whatever breaks a promise is in the result."""
        harness, episode = self.harness, Episode(name, kind)
        try:
            episode.delay_s = self._set_in_motion()
            signal = "stop" if kind == "blink" else kind
            began_ns, began_s = harness.send_signal(name, signal), time.monotonic()
            if kind == "blink":
                self._blink(episode, began_ns)
            elif name == "sim_bridge":
                self._without_the_world(episode, began_ns, began_s)
            else:
                self._without_help(episode, began_ns)
            harness.check()
        except AssertionError as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line
            episode.violation = (str(error) or str(line))[:3000]
            if kind != "kill":
                harness.send_signal(name, "continue")
        harness.forget()
        return episode

    def _set_in_motion(self) -> float:
        """The arm moves, and has done so for a random time, which is returned [s]."""
        harness = self.harness
        for _ in range(10):  # an arm that has arrived, or a guard that has lost its patience
            delay_s = self._dice.uniform(0.0, LATEST_S)
            bridged = isinstance(harness, BridgedHarness)
            if bridged:
                harness.new_episode(self._dice.randrange(10_000))
            harness.begin(forgets=bridged)  # else all is judged that was ever heard
            harness.run(delay_s)
            since_ns, end_s = harness.arm.now_ns(), time.monotonic() + 1.0
            harness.until(lambda: harness.moves(since_ns) or time.monotonic() > end_s)  # noqa: B023
            if harness.moves(since_ns):
                return delay_s
        raise AssertionError(f"does not stay in motion: {harness.newest('guard_node')}")

    def _blink(self, episode: Episode, began_ns: int) -> None:
        self.harness.run(self._dice.uniform(*BLINK_S))
        self.harness.send_signal(episode.name, "continue")
        self.harness.run(1.2)
        self._judge_steps(episode, began_ns)
        episode.told = self._told()

    def _told(self) -> str:
        return f"{self.harness.guard()} {self.harness.guard('code')}"

    # policy and guard ----------------------------------------------------------------------------

    def _without_help(self, episode: Episode, began_ns: int) -> None:
        """Policy or guard is gone: the arm comes to rest, and does not jump when it is back."""
        harness = self.harness
        end_ns = began_ns + round((BOUND_S + 0.5) * 1e9)
        harness.until(lambda: harness.arm.now_ns() > end_ns)
        self._judge_rest(episode, began_ns)
        if episode.name == "policy_node":
            self._judge_name(episode, began_ns)
        back_ns = harness.arm.now_ns()
        if episode.kind == "stop":
            harness.send_signal(episode.name, "continue")
        else:
            harness.forget_words(episode.name)
            harness.up(episode.name)
            harness.until(
                lambda: harness.newest(episode.name).get("code", "STOPPED") != "STOPPED", 60.0
            )
        afresh = (episode.name, episode.kind) == ("guard_node", "kill")
        if afresh:  # it says so once it has heard of the plans that flow
            harness.until(lambda: harness.guard() == "FAULT")
        harness.run(1.0)
        episode.told = self._told()
        if afresh:
            assert self._rest_s(back_ns) == 0.0, "it moved before a reset"
            harness.go_on("guard_node", forgets=False)
            harness.run(0.5)
        self._judge_steps(episode, began_ns)
        assert "CLOCK_JUMPED" not in harness.codes("policy_node", began_ns), "no clock has jumped"
        if episode.name == "policy_node":
            assert episode.told == "FAULT POLICY_LOST", f"no node has reset it: {episode.told}"
            assert self._rest_s(back_ns) == 0.0, "it moved before a reset"

    def _judge_name(self, episode: Episode, began_ns: int) -> None:
        def told() -> int:
            return self.harness.first("guard_node", "code", "POLICY_LOST", began_ns)

        # heard late: of a lost datagram DDS tells in seconds; when it was said is what counts
        self.harness.until(lambda: told() > 0)
        told_ns = told()
        episode.named_s = (told_ns - began_ns) * 1e-9
        assert episode.named_s <= NAMED_S, f"named after {episode.named_s:.3f} s"

    # the simulated robot -------------------------------------------------------------------------

    def _without_the_world(self, episode: Episode, began_ns: int, began_s: float) -> None:
        """The robot is gone, and time with it: the others say so, and wait when it is back."""
        harness = self.harness
        harness.until(lambda: harness.guard() in ("BRAKE", "FAULT"))
        # a message may be heard long after it was said: of a lost datagram DDS tells in seconds
        states = ("BRAKE", "FAULT")
        episode.named_s = harness.said_s("guard_node", "state", states, began_s) - began_s
        assert episode.named_s <= NAMED_S, f"named after {episode.named_s:.3f} s"
        harness.until(lambda: harness.policy() == "WAITING")
        told_s = harness.said_s("policy_node", "code", ("WAITING",), began_s) - began_s
        assert told_s <= CLOCK_S, f"the policy named it after {told_s:.3f} s"
        received = len(harness.commands)
        harness.run(0.5)
        assert len(harness.commands) == received, "commands while the world stands still"
        if episode.kind == "stop":
            harness.send_signal(episode.name, "continue")
            end_ns = began_ns + round((BOUND_S + 0.5) * 1e9)
            harness.until(lambda: harness.arm.now_ns() > end_ns, 30.0)
            self._judge_rest(episode, began_ns)
        else:
            harness.fresh_world()
            began_ns = harness.arm.history[0].stamp_ns
            assert self._rest_s(began_ns) == 0.0, "it moved before a reset"
        self._judge_steps(episode, began_ns)
        episode.told = self._told()
        # on a busy machine the policy is silent for as long, now and then
        named = ("FAULT JOINT_STATES_LOST", "FAULT POLICY_LOST")
        assert episode.told in named, f"no node has reset it: {episode.told}"

    # rest ----------------------------------------------------------------------------------------

    def _judge_rest(self, episode: Episode, began_ns: int) -> None:
        episode.rest_s = self._rest_s(began_ns)
        assert episode.rest_s <= BOUND_S, f"in motion until {episode.rest_s:.3f} s after"

    def _rest_s(self, since_ns: int) -> float:
        """Time from which on the arm has been where it is now [s]."""
        states = [state for state in self.harness.arm.history if state.stamp_ns >= since_ns]
        ways = np.array([state.position[:7] for state in states]) - states[-1].position[:7]
        moved = np.flatnonzero(np.abs(ways).max(axis=1) > self._still)
        return (states[moved[-1]].stamp_ns - since_ns) * 1e-9 if len(moved) else 0.0

    def _judge_steps(self, episode: Episode, since_ns: int) -> None:
        """By how much a joint has got further between two samples than its speed allows."""
        states = [state for state in self.harness.arm.history if state.stamp_ns >= since_ns]
        episode.step_rad, when_ns = longest_step(states, PROFILE, self.harness.arm.taken)
        when_s = (when_ns - since_ns) * 1e-9
        assert episode.step_rad <= STEP_RAD, (
            f"a jump of {episode.step_rad:.3f} rad after {when_s:.3f} s"
        )
