# SPDX-License-Identifier: MIT
"""The robot profile: joints, limits, frames and controllers of one arm, from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from difftori_ros.config.paths import config_dir
from difftori_ros.errors import DifftoriError
from difftori_ros.types import FloatArray

TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
"""A ROS topic name, relative or absolute."""


class ProfileError(DifftoriError, ValueError):
    """A robot profile cannot be used, or does not fit the checkpoint."""


@dataclass(frozen=True)
class Gripper:
    """A gripper that one joint describes.

    Attributes:
        joint: Its joint in `joint_states` and in the plan.
        open: Joint position when open [m or rad].
        closed: Joint position when closed on nothing [m or rad].
        velocity: Greatest commanded joint velocity [m/s or rad/s].
        topic: Where its controller listens for JointTrajectory messages.
    """

    joint: str
    open: float
    closed: float
    velocity: float
    topic: str


@dataclass(frozen=True)
class RobotProfile:
    """One arm. Arrays run over `arm_joints` and are read-only.

    Attributes:
        name: Name that checkpoints ask for.
        urdf: Kinematic model.
        base_frame: Frame in which poses and tip displacements are expressed.
        tip_frame: Frame between the fingertips.
        arm_joints: Joint names, base to tip.
        lower: Lowest commanded position [rad].
        upper: Highest commanded position [rad].
        velocity: Greatest commanded velocity [rad/s].
        acceleration: Greatest commanded acceleration [rad/s^2].
        jerk: Greatest commanded jerk [rad/s^3].
        home: A pose to start from [rad].
        topic: Where the arm's controller listens for JointTrajectory messages.
        gripper: The gripper, if there is one.
        spheres: What the arm's links fill, by frame: rows of x y z radius in the frame, (k, 4)
            [m]. Empty when the profile does not tell.
    """

    name: str
    urdf: Path
    base_frame: str
    tip_frame: str
    arm_joints: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    acceleration: FloatArray
    jerk: FloatArray
    home: FloatArray
    topic: str
    gripper: Gripper | None
    spheres: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The arm's joints, then the gripper's: the order of every plan."""
        return (*self.arm_joints, *((self.gripper.joint,) if self.gripper else ()))


def available_robots() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in (config_dir() / "robots").glob("*.yaml"))


def load_profile(robot: str) -> RobotProfile:
    """Read a profile by its name (`panda`) or by the path of a YAML file.

    Raises:
        ProfileError: There is no such profile, or it is incomplete; the message names what was
            wanted, what came and what exists.
    """
    path = (
        Path(robot)
        if robot.endswith((".yaml", ".yml"))
        else config_dir() / "robots" / f"{robot}.yaml"
    )
    if not path.is_file():
        raise ProfileError(
            f"no robot profile '{robot}' ({path}); available: {', '.join(available_robots())}"
        )
    try:
        return _parse(yaml.load(path.read_text(), _UniqueKeys), path.parent)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        if isinstance(error, ProfileError):
            raise
        detail = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise ProfileError(f"robot profile {path}: {detail}") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not a silent replacement."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ProfileError(f"'{twice[0]}' is given twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


KEYS = {"name", "urdf", "base_frame", "tip_frame", "topic", "joints", "gripper", "spheres"}
JOINT_KEYS = {"lower", "upper", "velocity", "acceleration", "jerk", "home"}
GRIPPER_KEYS = {one.name for one in fields(Gripper)}


def _known(given: Any, allowed: set[str], what: str) -> None:
    if not isinstance(given, dict):
        raise ProfileError(f"{what}: wanted a mapping, got {given!r}")
    unknown = sorted(set(given) - allowed)
    if unknown:
        have = ", ".join(sorted(allowed))
        raise ProfileError(f"{what}: unknown key '{unknown[0]}'; known: {have}")


def _parse(raw: Any, folder: Path) -> RobotProfile:
    _known(raw, KEYS, "robot profile")
    joints = raw["joints"]
    _known(joints, set(joints or ()), "joints")
    for name, limits in joints.items():
        _known(limits, JOINT_KEYS, name)
    if raw.get("gripper"):
        _known(raw["gripper"], GRIPPER_KEYS, "gripper")
    names = tuple(joints)

    def column(key: str) -> FloatArray:
        values = np.array([float(joints[name][key]) for name in names])
        if not np.isfinite(values).all():
            raise ProfileError(f"joint limits '{key}' must be finite, got {values.tolist()}")
        values.setflags(write=False)
        return values

    profile = RobotProfile(
        name=raw["name"],
        urdf=(folder / raw["urdf"]).resolve(),
        base_frame=raw["base_frame"],
        tip_frame=raw["tip_frame"],
        arm_joints=names,
        lower=column("lower"),
        upper=column("upper"),
        velocity=column("velocity"),
        acceleration=column("acceleration"),
        jerk=column("jerk"),
        home=column("home"),
        topic=raw["topic"],
        gripper=Gripper(**raw["gripper"]) if raw.get("gripper") else None,
        spheres=_spheres(raw.get("spheres") or {}),
    )
    if not profile.urdf.is_file():
        raise ProfileError(f"robot profile {profile.name}: no URDF at {profile.urdf}")
    for key in ("velocity", "acceleration", "jerk"):
        if (getattr(profile, key) <= 0).any():
            raise ProfileError(f"robot profile {profile.name}: '{key}' must be positive")
    if (profile.lower >= profile.upper).any():
        raise ProfileError(f"robot profile {profile.name}: 'lower' must lie below 'upper'")
    outside = (profile.home < profile.lower) | (profile.home > profile.upper)
    if outside.any():
        joint = profile.arm_joints[int(outside.argmax())]
        raise ProfileError(
            f"robot profile {profile.name}: 'home' of {joint} is outside its limits"
        )
    gripper = profile.gripper
    if gripper is not None and not gripper.velocity > 0:
        raise ProfileError(f"robot profile {profile.name}: gripper 'velocity' must be positive")
    for topic in (profile.topic, *([gripper.topic] if gripper else [])):
        if not TOPIC.fullmatch(topic):
            raise ProfileError(f"robot profile {profile.name}: '{topic}' is no topic name")
    return profile


def _spheres(raw: Any) -> dict[str, FloatArray]:
    if not isinstance(raw, dict):
        raise ProfileError(f"spheres: wanted a mapping from frames, got {raw!r}")
    spheres = {frame: np.array(rows, dtype=np.float64) for frame, rows in raw.items()}
    for frame, rows in spheres.items():
        sound = rows.ndim == 2 and rows.shape[1] == 4 and np.isfinite(rows).all()
        if not (sound and (rows[:, 3] > 0).all()):
            raise ProfileError(
                f"spheres of {frame}: wanted rows of x y z radius, got {raw[frame]}"
            )
        rows.setflags(write=False)
    return spheres
