# SPDX-License-Identifier: MIT
"""Bags become demonstrations: what the policy would have seen, and what the arm did next.

Every bag is one episode or several; a gap in the observations ends one. The action of a step is
the motion until the next step in the card's action space, taken from the *measured* joints:

| kind | action before it is divided by `scale` |
|---|---|
| `ee_delta_pos` | displacement of the tip, by the kinematics of the robot profile [m] |
| `joint_delta` | displacement of every arm joint [rad] |
| `joint_position` | arm joint positions at the next step [rad] |

The gripper's action is where it was last told to go before the next step: -1 closed, 1 open. A
motion faster than the action space allows is cut to it. The last step of an episode has no next
one, and is left out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract.specs import GRIPPER, Card, Observation
from difftori_models.data import DemoEpisode, Demos, Meta, write_demos
from difftori_ros.codecs.fields import stamp_to_ns
from difftori_ros.recording.bag_reader import Bag, BagError, Recorded
from difftori_ros.recording.bag_replay import BagReplay
from difftori_ros.robot.profile import Gripper, RobotProfile
from difftori_ros.status.clock_jump import shown_ns
from difftori_ros.types import FloatArray

GAP = 0.5
"""Share of `dt_s` by which two observations that follow each other may be too far or too near."""
NO_SEED = -1
"""Seed of an episode that no simulator has started."""
TARGETS = ("trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray")
"""Types of the gripper's commands."""


@dataclass(frozen=True)
class BagDemos:
    """What became of the bags.

    Attributes:
        episodes: Episodes written.
        steps: Steps in all.
        cut: Share of the actions that were larger than the action space allows.
        refusals: How often there was no observation when one was due, by reason.
    """

    episodes: int
    steps: int
    cut: float
    refusals: Mapping[str, int]


class _GripperTargets:
    """Where the gripper was told to go, by time."""

    def __init__(self, bag: Bag, gripper: Gripper, remaps: Mapping[str, str]):
        name = gripper.topic
        streamed = name.removesuffix("/joint_trajectory") + "/commands"
        if name not in remaps and f"/{streamed.lstrip('/')}" in bag.topics:
            name = streamed  # the guard's other outputs
        self.topic = bag.topic(name, TARGETS, remaps)
        self._gripper = gripper
        self._times: list[int] = []
        self._targets: list[float] = []

    def take(self, now_ns: int, recorded: Recorded) -> None:
        """Take in a command."""
        message, joint = recorded.message, self._gripper.joint
        if hasattr(message, "points"):
            if joint not in message.joint_names or not message.points:
                return
            target = message.points[-1].positions[list(message.joint_names).index(joint)]
            # a command that says when it begins, or that was faster than /clock, counts from then
            now_ns = shown_ns(now_ns, stamp_to_ns(message.header.stamp), simulated=True)
        elif len(message.data):
            target = message.data[0]
        else:
            return
        self._times.append(now_ns)
        self._targets.append(float(target))

    def before(self, time_ns: int, measured: float) -> float:
        """Network action of the newest target before `time_ns`; of `measured` before the first."""
        k = bisect_left(self._times, time_ns)
        target = self._targets[k - 1] if k else measured
        span = self._gripper.open - self._gripper.closed
        return float(np.clip(2.0 * (target - self._gripper.closed) / span - 1.0, -1.0, 1.0))


def import_bags(
    bags: Sequence[str | Path],
    card: Card,
    profile: RobotProfile,
    out: Path,
    *,
    values: Mapping[str, Any] | None = None,
    remaps: Mapping[str, str] | None = None,
    command: str = "difftori demos import bag",
    on_bag: Callable[[Path], object] = lambda path: None,
) -> BagDemos:
    """Write demonstrations to `out`, in the format of `difftori_models.data`.

    Args:
        bags: Bags, one after the other.
        card: What is observed and what actions mean.
        profile: The robot.
        out: The `.npz` file.
        values: Parameters of the policy node that the bags are replayed with.
        remaps: Name of a topic -> name under which it was recorded.
        command: What stands in the file as the command that made it.
        on_bag: Called after every bag.

    Raises:
        BagError: A bag cannot be used, or holds no two observations that follow each other.
    """
    episodes: list[DemoEpisode] = []
    cut: list[NDArray[np.bool_]] = []
    refusals: dict[str, int] = {}
    for path in bags:
        with Bag(path) as bag:
            found, targets, player = _observed(bag, card, profile, values, remaps or {})
        for reason, count in player.refusals.items():
            refusals[reason] = refusals.get(reason, 0) + count
        kept = _split(found, card.action.dt_s)
        if not kept:
            raise BagError(f"{path}: {_why_none(found, card, player.last_refusal)}")
        for episode in kept:
            free = _actions(episode, card, profile, targets)
            boxed = np.clip(free, card.action.low, card.action.high)
            cut.append((np.abs(free - boxed) > 1e-6).any(axis=1))
            episodes.append(DemoEpisode(NO_SEED, episode[:-1], boxed))
        on_bag(Path(path))
    meta = Meta(card.task, profile.name, 0.0, card.observation, card.action, command)
    demos = Demos.from_episodes(meta, episodes)
    write_demos(out, demos)
    return BagDemos(len(episodes), len(demos), float(np.concatenate(cut).mean()), refusals)


def _observed(
    bag: Bag,
    card: Card,
    profile: RobotProfile,
    values: Mapping[str, Any] | None,
    remaps: Mapping[str, str],
) -> tuple[list[Observation], _GripperTargets | None, BagReplay]:
    """Everything that is seen in a bag, and where its gripper was told to go."""
    gripper = profile.gripper if GRIPPER in card.action.names else None
    targets = None if gripper is None else _GripperTargets(bag, gripper, remaps)
    player = BagReplay(
        bag,
        card,
        profile,
        values,
        remaps=remaps,
        period_s=card.action.dt_s,
        extra_topics=() if targets is None else (targets.topic,),
        on_message=(lambda *_: None) if targets is None else targets.take,
    )
    return list(player.observations()), targets, player


def _split(found: Sequence[Observation], dt_s: float) -> list[list[Observation]]:
    """Episodes of at least two observations that follow each other at `dt_s`."""
    episodes: list[list[Observation]] = []
    for observation in found:
        gap_s = (observation.stamp_ns - episodes[-1][-1].stamp_ns) * 1e-9 if episodes else -1.0
        if abs(gap_s - dt_s) <= GAP * dt_s:
            episodes[-1].append(observation)
        else:
            episodes.append([observation])
    return [episode for episode in episodes if len(episode) > 1]


def _why_none(found: Sequence[Observation], card: Card, refusal: str) -> str:
    if len(found) < 2:
        return f"{len(found)} observations can be made: {refusal or 'too few messages'}"
    apart_s = float(np.median(np.diff([o.stamp_ns for o in found]))) * 1e-9
    return (
        f"observations are {apart_s:.3f} s apart, an action of this card takes "
        f"{card.action.dt_s:g} s"
    )


def _actions(
    episode: Sequence[Observation],
    card: Card,
    profile: RobotProfile,
    targets: _GripperTargets | None,
) -> FloatArray:
    """Network actions of all steps but the last, shape (T - 1, A), before they are cut."""
    action, names = card.action, episode[0].joint_names
    stamps = np.array([o.stamp_ns for o in episode])
    joints = np.array([o.position for o in episode])
    arm = joints[:, [names.index(name) for name in profile.arm_joints]]
    where = np.array([o.poses["tip"][:3] for o in episode])
    where = where if action.kind == "ee_delta_pos" else arm
    if action.kind == "joint_position":
        moves = where[1:]
    else:
        # a step that took a little longer moved a little further
        moves = np.diff(where, axis=0) * (action.dt_s * 1e9 / np.diff(stamps))[:, None]
    columns = list(moves.T)
    if targets is not None and profile.gripper is not None:
        measured = joints[:, names.index(profile.gripper.joint)]
        told = [
            targets.before(int(after), now)
            for now, after in zip(measured, stamps[1:], strict=False)
        ]
        columns.insert(action.names.index(GRIPPER), np.array(told))
    return np.column_stack(columns) / np.array(action.scale)
