# SPDX-License-Identifier: MIT
"""`difftori inspect --live`: listens as the policy node does, and shows what it sees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rich.console import Console

from difftori_models.contract.specs import Card
from difftori_models.data import Demos
from difftori_ros.config.parameters import POLICY
from difftori_ros.nodes.node_base import StartupError, declare, run
from difftori_ros.nodes.policy_inputs import PolicyInputs
from difftori_ros.observation import FrameError, Refusal, make_observer
from difftori_ros.observation.novelty import Novelty, novelty
from difftori_ros.observation.stream_buffer import FOREVER
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.status.health import Health

from .input_report import InputSnapshot, draw, nearest, snapshot_table

PERIOD_S = 1.0
"""Time between two looks [s, steady clock]."""
PATIENCE_S = 15.0
"""Time in which the streams must have delivered for a single look [s, steady clock]."""


class InspectNode(Node):
    """Looks at the inputs once a second, or once."""

    def __init__(
        self,
        card: Card,
        profile: RobotProfile,
        values: Mapping[str, Any],
        png: Path,
        console: Console,
        *,
        demos: Demos | None = None,
        once: bool = False,
        sim_time: bool = False,
        **options: Any,
    ):
        """Listen.

        Args:
            card: What the policy sees.
            profile: The robot.
            values: Parameters of the policy node.
            png: The picture.
            console: Where the table is shown.
            demos: What the checkpoint was trained on; a sample of it is shown beside.
            once: End after the first look.
            sim_time: The time is that of `/clock`.
            options: Of `rclpy.node.Node`.

        Raises:
            StartupError: The camera's pose in `values` is none.
        """
        given = {name: value for name, value in values.items() if value != []}
        given |= {"use_sim_time": sim_time}
        overrides = [RosParameter(name, value=value) for name, value in given.items()]
        super().__init__("inspect_node", parameter_overrides=overrides, **options)
        declare(self, POLICY)
        self._card, self._png, self._console = card, png, console
        self._demos, self._once = demos, once
        try:
            self._observer = make_observer(card, profile, values)
        except FrameError as error:
            raise StartupError(str(error)) from error
        self._inputs = PolicyInputs(self, self._observer, Health(), time.monotonic)
        self._began_s, self._looked_s = time.monotonic(), -PERIOD_S
        self.finished: int | None = None

    def step(self) -> None:
        """Between two spins: look, when it is time to."""
        now_s = time.monotonic()
        if now_s - self._looked_s < (0.1 if self._once else PERIOD_S):
            return
        self._looked_s = now_s
        snapshot = self.snapshot()
        if self._once and snapshot.observation is None and now_s - self._began_s < PATIENCE_S:
            return
        self._show(snapshot)
        if self._once:
            self.finished = 0 if snapshot.observation is not None else 1

    def stop(self) -> None:
        """Nothing is heard any more."""
        self._inputs.close()

    def snapshot(self) -> InputSnapshot:
        """What the policy would see now."""
        self._inputs.take()
        streams, now_ns = self._observer.streams, self.get_clock().now().nanoseconds
        newest = {name: streams[name].latest_before(FOREVER) for name in streams}
        frames = {name: getattr(f[1], "frame_id", "") for name, f in newest.items() if f}
        observation, ages = self._observer.observe(now_ns), streams.ages_s(now_ns)
        if isinstance(observation, Refusal):
            missing = "; ".join(self._inputs.unpublished(silent_only=True))
            why = f"{observation.reason.name}: {missing or observation.detail}"
            return InputSnapshot(None, why, ages, frames, Novelty({}))
        return InputSnapshot(observation, "", ages, frames, novelty(observation, self._card))

    def _show(self, snapshot: InputSnapshot) -> None:
        seen, sample = snapshot.observation, None
        if seen is not None and self._demos is not None:
            sample = nearest(self._demos, self._card, seen)
        self._console.print(snapshot_table(self._card, snapshot))
        draw(self._card, snapshot, sample, self._png)
        self._console.print(f"wrote {self._png}", markup=False, soft_wrap=True)


def inspect_live(
    card: Card,
    profile: RobotProfile,
    values: Mapping[str, Any],
    png: Path,
    console: Console,
    *,
    remaps: Mapping[str, str],
    demos: Demos | None = None,
    once: bool = False,
    sim_time: bool = False,
) -> int:
    """Show what the policy sees until SIGINT or SIGTERM, or once; return the exit status.

    1 when nothing could be seen in time.
    """
    arguments = ["--ros-args"]
    for name, topic in remaps.items():
        arguments += ["-r", f"{name}:={topic}"]
    options = {"demos": demos, "once": once, "sim_time": sim_time}
    return run(lambda: InspectNode(card, profile, values, png, console, **options), arguments)
