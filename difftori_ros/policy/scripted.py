# SPDX-License-Identifier: MIT
"""Policies without a network, to try everything else first: hold a pose, replay a motion.

They plan absolute joint positions like any checkpoint whose actions are `joint_position`, so that
pipeline, guard and controller see nothing new.
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from difftori_models.contract.network_settings import Network, Solver
from difftori_models.contract.specs import (
    ActionSpec,
    Card,
    Observation,
    ObservationSpec,
    Plan,
    PlanStatus,
)
from difftori_models.contract.strict_json import JsonError, loads
from difftori_ros.errors import DifftoriError
from difftori_ros.robot.profile import RobotProfile
from difftori_ros.types import FloatArray, Trajectory

HOLD, REPLAY = "hold", "replay:"
DT_S, HORIZON, EXECUTE = 0.05, 6, 2
"""Time one action holds [s], actions per plan, actions carried out before the next plan."""
FILES = ("trajectory.json", "trajectory.npz")
"""What is looked for in a folder."""
KEYS = ("joint_names", "times", "positions")
UNREADABLE = (JsonError, KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile)
MAX_BYTES = 1 << 26
"""Larger recordings are refused unread."""


class ScriptError(DifftoriError, ValueError):
    """A recording cannot be played on this robot; the message is one sentence that says why."""


def is_scripted(checkpoint: str) -> bool:
    """True when the `checkpoint` parameter names no network."""
    return checkpoint == HOLD or checkpoint.startswith(REPLAY)


def open_script(checkpoint: str, profile: RobotProfile) -> tuple[ScriptedPlanner, Path]:
    """The planner for `hold` or `replay:FOLDER_OR_FILE`, and the file it plays (or `hold`).

    Raises:
        ScriptError: The recording cannot be read, or does not fit the robot.
    """
    if checkpoint == HOLD:
        return ScriptedPlanner(profile), Path(HOLD)
    path = find_recording(checkpoint.removeprefix(REPLAY))
    return ScriptedPlanner(profile, load_recording(path, profile)), path


def find_recording(name: str) -> Path:
    """The recording at a path, or in the folder there.

    Raises:
        ScriptError: There is none.
    """
    path = Path(name).expanduser()
    candidates = [path / file for file in FILES] if path.is_dir() else [path]
    for candidate in candidates if name else []:
        if candidate.is_file() and candidate.suffix in (".json", ".npz"):
            return candidate
    raise ScriptError(
        f"no recording at '{name}': wanted a .json or .npz file, or a folder with "
        + " or ".join(FILES)
    )


def load_recording(path: Path, profile: RobotProfile) -> Trajectory:
    """The recorded motion of the robot's joints, in the profile's order; its times begin at 0.

    The file holds `joint_names` (n), `times` (P) [s] and `positions` (P, n) [rad or m], as JSON
    or as npz without pickled objects. Further joints are left out; the gripper may be missing.

    Raises:
        ScriptError: It cannot be read, or does not fit the robot.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ScriptError(f"{path}: {path.stat().st_size} bytes, more than {MAX_BYTES}")
    try:
        data = _read(path)
        names = [str(name) for name in data["joint_names"]]
        times = np.array(data["times"], dtype=np.float64)
        positions = np.array(data["positions"], dtype=np.float64)
    except UNREADABLE as error:
        raise ScriptError(f"{path}: wanted {', '.join(KEYS)}: {error}") from error
    missing = [name for name in profile.arm_joints if name not in names]
    if missing or len(set(names)) != len(names):
        raise ScriptError(
            f"{path}: wanted each of the joints {', '.join(profile.arm_joints)} once, "
            f"got {', '.join(names)}"
        )
    if times.ndim != 1 or len(times) < 2 or positions.shape != (len(times), len(names)):
        raise ScriptError(
            f"{path}: wanted 2 or more times and as many rows of {len(names)} positions, "
            f"got {times.shape} and {positions.shape}"
        )
    if not (np.isfinite(times).all() and np.isfinite(positions).all()):
        raise ScriptError(f"{path}: wanted finite numbers")
    if not (np.diff(times) > 0).all():
        raise ScriptError(f"{path}: wanted times that increase")
    kept = tuple(name for name in profile.joint_names if name in names)
    positions = positions[:, [names.index(name) for name in kept]]
    _check_limits(path, profile, times, positions[:, : len(profile.arm_joints)])
    return Trajectory(0, kept, times - times[0], positions, np.zeros_like(positions))


def _read(path: Path) -> Any:
    if path.suffix == ".json":
        return loads(path.read_bytes())
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return {key: data[key] for key in KEYS}


def _check_limits(path: Path, profile: RobotProfile, times: FloatArray, arm: FloatArray) -> None:
    speed = np.abs(np.diff(arm, axis=0) / np.diff(times)[:, None]).max(axis=0)
    for k, joint in enumerate(profile.arm_joints):
        low, high = profile.lower[k], profile.upper[k]
        if arm[:, k].min() < low or arm[:, k].max() > high:
            raise ScriptError(
                f"{path}: {joint} goes from {arm[:, k].min():.3f} to {arm[:, k].max():.3f} rad, "
                f"allowed are {low:.3f} to {high:.3f} rad"
            )
        if speed[k] > profile.velocity[k]:
            raise ScriptError(
                f"{path}: {joint} moves at {speed[k]:.2f} rad/s, "
                f"allowed are {profile.velocity[k]:.2f} rad/s"
            )


class ScriptedPlanner:
    """Holds the pose measured at its first plan, or plays a recording once and holds its end.

    Attributes:
        card: Says that actions are joint positions of this robot.
        start_position: Arm joints (n,) it must start from [rad]; None for anywhere.
        backend: What runs it.
        publish_latent: As in other planners; there is nothing to tell.
    """

    backend = "script"
    publish_latent = False

    def __init__(self, profile: RobotProfile, recording: Trajectory | None = None):
        """Hold, or play `recording`, whose times begin at 0."""
        self._profile, self._recording = profile, recording
        self._start_ns: int | None = None
        self._held: FloatArray = np.zeros(0)
        self.card = _card(profile, HOLD if recording is None else "replay")
        arm = len(profile.arm_joints)
        self.start_position = None if recording is None else recording.positions[0, :arm]

    def warm_up(self) -> None:
        """Nothing to do."""

    def reset(self, seed: int) -> None:
        """The next plan holds what is measured then, or begins to play."""
        self._start_ns = None

    def plan(self, observation: Observation, deadline_s: float | None = None) -> Plan:
        """Joint positions and gripper opening for the next actions."""
        began = time.monotonic()
        names = self._profile.joint_names
        if self._start_ns is None:
            order = [observation.joint_names.index(name) for name in names]
            self._start_ns, self._held = observation.stamp_ns, observation.position[order].copy()
        targets = np.tile(self._held, (HORIZON, 1))
        played = self._recording
        if played is not None:
            due = (observation.stamp_ns - self._start_ns) * 1e-9
            due = due + DT_S * (1.0 + np.arange(HORIZON))
            for k, name in enumerate(played.joint_names):
                path = np.interp(due, played.times, played.positions[:, k])
                targets[:, names.index(name)] = path
        gripper = self._profile.gripper
        if gripper is not None:
            opening = (targets[:, -1] - gripper.closed) / (gripper.open - gripper.closed)
            targets[:, -1] = 2.0 * np.clip(opening, 0.0, 1.0) - 1.0
        nothing = float("nan")
        elapsed_s = time.monotonic() - began
        stamp_ns = observation.stamp_ns
        return Plan(stamp_ns, targets, nothing, nothing, 0, elapsed_s, PlanStatus.BASE)


def _card(profile: RobotProfile, name: str) -> Card:
    gripper = profile.gripper is not None
    names = (*profile.arm_joints, *(("gripper",) if gripper else ()))
    low = (*map(float, profile.lower), *((-1.0,) if gripper else ()))
    high = (*map(float, profile.upper), *((1.0,) if gripper else ()))
    ones = (1.0,) * len(names)
    action = ActionSpec("joint_position", names, ones, low, high, DT_S, HORIZON, EXECUTE)
    seen = ObservationSpec(profile.base_frame, profile.joint_names, (), ("position",))
    no_network = Network(state=0)
    return Card(name, name, profile.name, "script", seen, action, no_network, {}, Solver(), {})
