# SPDX-License-Identifier: MIT
"""Samples of every stream, and observers that are fed with them."""

import numpy as np

from difftori_models.contract.specs import Observation, ObservationSpec, PointSpec
from difftori_ros.observation import FrameTree, Observer, Refusal, StreamSet
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Cloud, JointState, Pose

PROFILE = load_profile("panda")
KINEMATICS = Kinematics(PROFILE)
NAMES = PROFILE.joint_names
BASE = PROFILE.base_frame
NOW = 5_000_000_000
MS = 1_000_000
CAMERA = "camera_optical_frame"
# half a turn about z, 1 m ahead of the base
CAMERA_POSE = np.array([1.0, 0.2, 0.3, 0.0, 0.0, 1.0, 0.0])
POSITION = np.append(PROFILE.home + 0.01 * np.arange(7), 0.03)
VELOCITY = 0.1 * np.arange(1.0, 9.0)
GOAL = np.array([0.6, 0.1, 0.2, 0.0, 0.0, 0.0, 1.0])
BOX = PointSpec(BASE, 16, True, (0.3, -0.3, 0.0), (0.9, 0.3, 0.5), min_points=8)


def spec(points: PointSpec | None = None, poses=("goal", "object")) -> ObservationSpec:
    return ObservationSpec(BASE, NAMES, poses, ("position",), points)


def observer(wanted: ObservationSpec | None = None, **options) -> Observer:
    frames = FrameTree()
    frames.set_static(BASE, CAMERA, pose_to_matrix(CAMERA_POSE))
    wanted = wanted or spec()
    return Observer(wanted, PROFILE, KINEMATICS, frames, StreamSet(wanted, **options))


def joints(stamp_ns=NOW, names=NAMES, position=POSITION, velocity=VELOCITY) -> JointState:
    return JointState(stamp_ns, tuple(names), np.array(position), np.array(velocity))


def pose(stamp_ns=NOW, frame=BASE, xyz=GOAL[:3]) -> Pose:
    return Pose(stamp_ns, frame, np.array([*xyz, 0.0, 0.0, 0.0, 1.0]))


def cloud(stamp_ns=NOW, frame=BASE, count=50, seed=0) -> Cloud:
    xyz = np.random.default_rng(seed).uniform([0.4, -0.2, 0.1], [0.8, 0.2, 0.4], (count, 3))
    return Cloud(stamp_ns, frame, xyz.astype(np.float32), np.full((count, 3), 0.5, np.float32))


def fill(seen: Observer, *, without=(), **samples) -> Observer:
    """Push one sample to every stream, those given and good ones for the rest."""
    for name in seen.streams:
        if name in without:
            continue
        good = {"joint_states": joints, "points": cloud}.get(name, pose)
        seen.streams.push(name, samples.get(name) or good(), NOW)
    return seen


def seen_by(**samples) -> Observation:
    observation = fill(observer(), **samples).observe(NOW)
    assert isinstance(observation, Observation)
    return observation


def refused(seen: Observer, now_ns=NOW) -> Refusal:
    refusal = seen.observe(now_ns)
    assert isinstance(refusal, Refusal)
    return refusal
