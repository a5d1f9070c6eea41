# SPDX-License-Identifier: MIT
"""Processes are killed and stopped at random times in mid-motion: does the arm always rest?

    python benchmarks/kills.py --episodes 100 --json out/kills.json
    python benchmarks/kills.py --episodes 100 --load 2 --json out/kills_load_2.json

Policy, guard and simulated robot get SIGKILL or SIGSTOP in turn, 0 to 3 s into a motion. Nothing
helps from then on: the arm must be at rest within the promised bound, and every command that was
ever heard must keep P1 to P4, judged by when it was published. What was stopped continues, what
was killed is started afresh, and nothing may jump then: no joint may get further between two
samples than its speed allows. A guard that is started afresh while plans flow, and so begins in a
fault, may move nothing until it is reset, and must go on after that. Policy and guard are struck
in front of an arm that is only computed, and follows exactly. The bridge is the simulated robot
itself: its world stands still with it, so guard and policy must name that in time; when it
continues the arm must come to rest on the world's own clock, and stay there. A blink is a SIGSTOP
that ends before all is at rest: what was built in between must not count.

Every episode is written as a line of a file beside the JSON (`.jsonl`) at once; a run that was
broken off goes on from there when it is started again with the same settings.

JSON keys: `violations`, `episodes`, `kinds` (of each: `episodes`, `rest_s_p50`, `rest_s_max`,
`named_s_p50`, `named_s_max`, `step_rad_max`, `violations`), `what_was_violated`, `runs`, `seed`,
`load` (busy loops beside it), `machine`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterType
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import JointState as JointStateMessage
from std_srvs.srv import Trigger
from tqdm import tqdm

from difftori_ros import bringup, codecs
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.types import JointState

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.support.busy import busy
from benchmarks.support.episodes import Episode, Record, summary, write
from tests.support.fake_robot import HOME, PROFILE
from tests.support.harness import SLACK_S, Stand
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
COMPUTED_STILL, SIMULATED_STILL = 1e-6, 2e-3
"""How near to its last position an arm at rest stays: computed, and in contact with things [rad].
A simulated one that presses on something has velocities, though it goes nowhere."""
JOINTS_NS = 10_000_000
"""Time between two joint states of the simulated robot [ns]."""
STEP_RAD = 0.02
"""How much further than at full speed a joint may get between two samples [rad]."""


class HeardArm:
    """The simulated robot, as it is heard: what `FakeArm` is to a stand."""

    def __init__(self, node: Any) -> None:
        self.history: deque[JointState] = deque(maxlen=3000)
        self.position, self.pushed = HOME.copy(), np.zeros(len(HOME))
        self.taken = ()  # who takes the commands, and when, is not known here
        self._published: deque[tuple[int, int]] = deque(maxlen=1000)
        node.create_subscription(JointStateMessage, "joint_states", self._on_joints, STATUS_QOS)

    def _on_joints(self, message: JointStateMessage, info: dict[str, int]) -> None:
        state = codecs.decode_joint_state(message)
        self.position = state.position
        self._published.append((info["source_timestamp"], state.stamp_ns))
        self.history.append(state)

    def now_ns(self) -> int:
        """The world's clock, as far as it is known [ns]."""
        return self.history[-1].stamp_ns if self.history else 0

    def at_ns(self, wall_ns: int) -> int:
        """The world's clock at a time of the wall clock [ns].

        It goes on from the last joint state by then, and stands still where the next is missing.
        """
        before = (one for one in reversed(self._published) if one[0] <= wall_ns)
        then_ns, stamp_ns = next(before, (wall_ns, self.now_ns()))
        return stamp_ns + min(wall_ns - then_ns, JOINTS_NS)

    @property
    def speed(self) -> float:
        """Greatest speed of the arm's joints [rad/s]."""
        return float(np.abs(self.history[-1].velocity[:7]).max()) if self.history else 0.0

    def step(self) -> None:
        """It moves by itself."""

    def heal(self) -> None:
        """Nothing on its wires is ever wrong."""


class BridgedStand(Stand):
    """Guard and policy in front of the simulated robot, on the world's clock."""

    def __init__(self, folder: Path, checkpoint: str, **named: Any) -> None:
        super().__init__(folder, checkpoint, simulated=True, **named)
        world = {"max_time_s": 1000.0, "cloud": False}
        self.specs["sim_bridge"] = bringup.bridge_spec(checkpoint, "panda", "wall", world)

    def _make_arm(self, cloud: bool, simulated: bool) -> HeardArm:
        return HeardArm(self.node)

    def forget(self) -> None:
        """Where the arm was when a command came is not known here: it was heard at other times."""
        super().forget()
        self.measured_is_known = False

    def new_world(self, seed: int) -> None:
        """The task anew: there is something to reach for."""
        self.up("sim_bridge")
        kind = ParameterType.PARAMETER_INTEGER
        assert self.set("sim_bridge", "seed", type=kind, integer_value=seed).successful
        assert self.call(Trigger, "sim_bridge/reset", Trigger.Request(), 60.0).success
        self.arm.history.clear()  # where the arm was in the old world does not count
        self.until(lambda: bool(self.arm.history))


class Kills:
    """A stand, and what is done to its processes."""

    def __init__(self, stand: Stand, seed: int | str) -> None:
        self.stand, self._dice = stand, random.Random(seed)
        self._still = SIMULATED_STILL if isinstance(stand, BridgedStand) else COMPUTED_STILL

    def episode(self, name: str, kind: str) -> Episode:
        """Strike in mid-motion and see; whatever breaks a promise stands in the result."""
        stand, seen = self.stand, Episode(name, kind)
        try:
            seen.delay_s = self._set_in_motion()
            signal = "stop" if kind == "blink" else kind
            began_ns, began_s = stand.strike(name, signal), time.monotonic()
            if kind == "blink":
                self._blink(seen, began_ns)
            elif name == "sim_bridge":
                self._without_the_world(seen, began_ns, began_s)
            else:
                self._without_help(seen, began_ns)
            stand.check()
        except AssertionError as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line
            seen.violation = (str(error) or str(line))[:3000]
            if kind != "kill":
                stand.strike(name, "continue")
        stand.forget()
        return seen

    def _set_in_motion(self) -> float:
        """The arm moves, and has done so for a random time, which is returned [s]."""
        stand = self.stand
        for _ in range(10):  # an arm that has arrived, or a guard that has lost its patience
            delay_s = self._dice.uniform(0.0, LATEST_S)
            bridged = isinstance(stand, BridgedStand)
            if bridged:
                stand.new_world(self._dice.randrange(10_000))
            stand.begin(forgets=bridged)  # else all is judged that was ever heard
            stand.run(delay_s)
            since_ns, end_s = stand.arm.now_ns(), time.monotonic() + 1.0
            stand.until(lambda: stand.moves(since_ns) or time.monotonic() > end_s)  # noqa: B023
            if stand.moves(since_ns):
                return delay_s
        raise AssertionError(f"does not stay in motion: {stand.newest('guard_node')}")

    def _blink(self, seen: Episode, began_ns: int) -> None:
        self.stand.run(self._dice.uniform(*BLINK_S))
        self.stand.strike(seen.name, "continue")
        self.stand.run(1.2)
        self._judge_steps(seen, began_ns)
        seen.told = self._told()

    def _told(self) -> str:
        return f"{self.stand.guard()} {self.stand.guard('code')}"

    # policy and guard ----------------------------------------------------------------------------

    def _without_help(self, seen: Episode, began_ns: int) -> None:
        """Policy or guard is gone: the arm comes to rest, and does not jump when it is back."""
        stand = self.stand
        end_ns = began_ns + round((BOUND_S + 0.5) * 1e9)
        stand.until(lambda: stand.arm.now_ns() > end_ns)
        self._judge_rest(seen, began_ns)
        if seen.name == "policy_node":
            self._judge_name(seen, began_ns)
        back_ns = stand.arm.now_ns()
        if seen.kind == "stop":
            stand.strike(seen.name, "continue")
        else:
            stand.forget_words(seen.name)
            stand.up(seen.name)
            stand.until(lambda: stand.newest(seen.name).get("code", "STOPPED") != "STOPPED", 60.0)
        afresh = (seen.name, seen.kind) == ("guard_node", "kill")
        if afresh:  # it says so once it has heard of the plans that flow
            stand.until(lambda: stand.guard() == "FAULT")
        stand.run(1.0)
        seen.told = self._told()
        if afresh:
            assert self._rest_s(back_ns) == 0.0, "it moved before a reset"
            stand.go_on("guard_node", forgets=False)
            stand.run(0.5)
        self._judge_steps(seen, began_ns)
        assert "CLOCK_JUMPED" not in stand.codes("policy_node", began_ns), "no clock has jumped"
        if seen.name == "policy_node":
            assert seen.told == "FAULT POLICY_LOST", f"nobody has reset it: {seen.told}"
            assert self._rest_s(back_ns) == 0.0, "it moved before a reset"

    def _judge_name(self, seen: Episode, began_ns: int) -> None:
        def told() -> int:
            return self.stand.first("guard_node", "code", "POLICY_LOST", began_ns)

        # heard late: of a lost datagram DDS tells in seconds; when it was said is what counts
        self.stand.until(lambda: told() > 0)
        told_ns = told()
        seen.named_s = (told_ns - began_ns) * 1e-9
        assert seen.named_s <= NAMED_S, f"named after {seen.named_s:.3f} s"

    # the simulated robot -------------------------------------------------------------------------

    def _without_the_world(self, seen: Episode, began_ns: int, began_s: float) -> None:
        """The robot is gone, and time with it: the others say so, and wait when it is back."""
        stand = self.stand
        stand.until(lambda: stand.guard() in ("BRAKE", "FAULT"))
        # a message may be heard long after it was said: of a lost datagram DDS tells in seconds
        states = ("BRAKE", "FAULT")
        seen.named_s = stand.said_s("guard_node", "state", states, began_s) - began_s
        assert seen.named_s <= NAMED_S, f"named after {seen.named_s:.3f} s"
        stand.until(lambda: stand.policy() == "WAITING")
        told_s = stand.said_s("policy_node", "code", ("WAITING",), began_s) - began_s
        assert told_s <= CLOCK_S, f"the policy named it after {told_s:.3f} s"
        heard = len(stand.commands)
        stand.run(0.5)
        assert len(stand.commands) == heard, "commands while the world stands still"
        if seen.kind == "stop":
            stand.strike(seen.name, "continue")
            end_ns = began_ns + round((BOUND_S + 0.5) * 1e9)
            stand.until(lambda: stand.arm.now_ns() > end_ns, 30.0)
            self._judge_rest(seen, began_ns)
        else:
            stand.check()  # the fresh world has a time of its own
            stand.forget()
            stand.arm.history.clear()
            stand.up(seen.name)
            stand.until(lambda: len(stand.arm.history) > 100, 120.0)
            began_ns = stand.arm.history[0].stamp_ns
            assert self._rest_s(began_ns) == 0.0, "it moved before a reset"
        self._judge_steps(seen, began_ns)
        seen.told = self._told()
        # on a busy machine the policy is silent for as long, now and then
        named = ("FAULT JOINT_STATES_LOST", "FAULT POLICY_LOST")
        assert seen.told in named, f"nobody has reset it: {seen.told}"

    # rest ----------------------------------------------------------------------------------------

    def _judge_rest(self, seen: Episode, began_ns: int) -> None:
        seen.rest_s = self._rest_s(began_ns)
        assert seen.rest_s <= BOUND_S, f"in motion until {seen.rest_s:.3f} s after"

    def _rest_s(self, since_ns: int) -> float:
        """Time from which on the arm has been where it is now [s]."""
        states = [state for state in self.stand.arm.history if state.stamp_ns >= since_ns]
        ways = np.array([state.position[:7] for state in states]) - states[-1].position[:7]
        moved = np.flatnonzero(np.abs(ways).max(axis=1) > self._still)
        return (states[moved[-1]].stamp_ns - since_ns) * 1e-9 if len(moved) else 0.0

    def _judge_steps(self, seen: Episode, since_ns: int) -> None:
        """By how much a joint has got further between two samples than its speed allows."""
        states = [state for state in self.stand.arm.history if state.stamp_ns >= since_ns]
        seen.step_rad, when_ns = longest_step(states, PROFILE, self.stand.arm.taken)
        when_s = (when_ns - since_ns) * 1e-9
        assert seen.step_rad <= STEP_RAD, f"a jump of {seen.step_rad:.3f} rad after {when_s:.3f} s"


def run(
    stand: Stand, turns: dict[int, tuple[str, str]], seed: int, record: Record, bar: Any
) -> None:
    """The episodes of these turns, all on this stand; each has dice of its own."""
    for turn, (name, kind) in turns.items():
        record.add(turn, Kills(stand, f"{seed} {turn}").episode(name, kind))
        bar.update()
        bar.set_postfix(violations=sum(bool(one.violation) for one in record.episodes()))


def main() -> None:
    """Run the episodes and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--blinks", type=int, default=30)
    parser.add_argument("--checkpoint", default="pick_cube_state")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--quick", action="store_true", help="one episode: the guard is killed")
    parser.add_argument("--json", type=Path, default=Path("out/kills.json"))
    arguments = parser.parse_args()
    bringup.interrupt_on_termination()
    kinds = [KINDS[k % len(KINDS)] for k in range(arguments.episodes)]
    kinds += [BLINKS[k % len(BLINKS)] for k in range(arguments.blinks)]
    turns = dict(enumerate([("guard_node", "kill")] if arguments.quick else kinds))
    settings = {
        key: getattr(arguments, key)
        for key in ("episodes", "blinks", "checkpoint", "seed", "load", "quick")
    }
    record = Record(arguments.json.with_suffix(".jsonl"), settings, len(turns))
    with (
        tempfile.TemporaryDirectory(prefix="difftori_kills_") as folder,
        tqdm(total=len(turns), initial=len(record.seen), desc="kills", unit="episode") as bar,
        busy(arguments.load),
    ):
        for make, bridged in ((Stand, False), (BridgedStand, True)):
            own = {
                turn: struck
                for turn, struck in turns.items()
                if (struck[0] == "sim_bridge") == bridged and turn not in record.seen
            }
            if not own:
                continue
            place = Path(folder) / make.__name__
            place.mkdir()
            stand = make(place, arguments.checkpoint, guard=GUARD)
            try:
                run(stand, own, arguments.seed, record, bar)
            finally:
                stand.close()
    seen = record.episodes()
    others = {"seed": arguments.seed, "load": arguments.load}
    write(seen, REST_WITHIN_S, others, arguments.json)
    rows = summary(seen)
    table = Table("struck", *next(iter(rows.values()), ()))
    for label, row in rows.items():
        table.add_row(label, *("-" if value is None else str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
