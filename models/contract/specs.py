# SPDX-License-Identifier: MIT
"""What the learned side and the robot side agree on, as plain data: no torch, no ROS.

One dataclass per thing that crosses the border: `Observation` in, `Plan` out, and the `Card` that
says what a checkpoint expects and what it produces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .network_settings import Network, Solver

SCHEMA = 4
"""Version of the card; `difftori_models.checkpoint.card.migrate` says what changed."""

GRIPPER = "gripper"
"""Name of the gripper's entry in an action."""

FloatArray = NDArray[np.float64]


def tip_at(stream: str) -> str:
    """Name of the pose of the tip at the stamp of a cloud or image."""
    return f"tip@{stream}"


@dataclass(frozen=True)
class Observation:
    """Everything the policy may see, at one time, bound by name.

    Attributes:
        stamp_ns: The time the observation stands for, on the clock of the message stamps [ns].
        joint_names: Order of `position` and `velocity`.
        position: Joint positions, shape (n,) [rad, or m for prismatic joints].
        velocity: Joint velocities, shape (n,) [rad/s or m/s].
        poses: Named poses in the base frame, shape (7,): x y z [m], quaternion x y z w. The tip of
            the arm is always there under the name `tip`, and for every cloud and camera under
            `tip@<stream>` where it was when that was seen; they come from forward kinematics.
        points: Processed cloud in the frame of the card, shape (N, 3) xyz [m] or (N, 6) xyz + rgb
            in [0, 1]; float32. None when the card asks for none.
        images: Named images, shape (H, W, 3) uint8 RGB.
        stamps_ns: Stamp of the newest message of each stream used here [ns].
        past: What was seen before, newest first, when the card stacks frames; each with stamps of
            its own and without a past.
        vectors: Named flat arrays (n,) of environments that are not arms of ours.
    """

    stamp_ns: int
    joint_names: tuple[str, ...]
    position: FloatArray
    velocity: FloatArray
    poses: Mapping[str, FloatArray]
    points: NDArray[np.float32] | None = None
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    stamps_ns: Mapping[str, int] = field(default_factory=dict)
    past: tuple[Observation, ...] = ()
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)


class PlanStatus(Enum):
    """Why a plan looks the way it does; the value is the sentence the operator reads."""

    REFINED = "the base policy's actions were refined by the optimiser"
    BASE = "the base policy's actions are used as they are: the checkpoint has no optimiser"
    DEADLINE = "the deadline passed before all iterations were done: actions as far as they got"
    DIVERGED = "refinement gave non-finite numbers: the base policy's actions are used as they are"
    FAILED = "the network gave non-finite actions: there is no plan"

    @property
    def usable(self) -> bool:
        """True when the plan holds actions that may be executed."""
        return self is not PlanStatus.FAILED


@dataclass(frozen=True)
class Plan:
    """What the planner wants to do, in the physical units of the card's action spec.

    Attributes:
        stamp_ns: Stamp of the observation it was made from [ns].
        actions: Shape (H, A), float64. Action k holds from `stamp + k * dt` to `stamp + (k + 1) *
            dt`.
        objective_before: Score of the base policy's actions.
        objective_after: Score of `actions`.
        iterations: Optimiser iterations done.
        elapsed_s: Steady-clock time from observation to plan [s].
        status: Whether and why the plan is what it is.
        context: The encoded observation that the optimiser was told of, float32, flat; None when
            there is none, or nobody asked for it.
    """

    stamp_ns: int
    actions: FloatArray
    objective_before: float
    objective_after: float
    iterations: int
    elapsed_s: float
    status: PlanStatus
    context: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PointSpec:
    """How a cloud becomes the policy's points, in training and in deployment alike.

    Attributes:
        frame: Frame of `crop_min`, `crop_max` and of the processed points.
        count: Points kept, N.
        color: True for xyz + rgb, False for xyz.
        crop_min: Lower corner of the box that is kept, x y z [m].
        crop_max: Upper corner, x y z [m].
        min_points: Fewer points than this inside the box make the cloud unusable.
        clouds: Names of the streams whose clouds are merged.
        self_filter_m: Points no further than this from the robot's own collision shapes are
            dropped [m]; None keeps them.
        outlier_radius_m: Points with fewer than two others within this distance are dropped
            [m]; None keeps them.
    """

    frame: str
    count: int
    color: bool
    crop_min: tuple[float, float, float]
    crop_max: tuple[float, float, float]
    min_points: int = 32
    clouds: tuple[str, ...] = ("points",)
    self_filter_m: float | None = None
    outlier_radius_m: float | None = None


@dataclass(frozen=True)
class ImageSpec:
    """How a camera's picture becomes the policy's image, in training and in deployment alike.

    Attributes:
        height: Rows of the image [px].
        width: Columns [px].
        crop: Part of the picture that is kept: left, top, right, bottom, as shares of its width
            and height, so that it holds at every resolution of the camera.
        rectify: Take the lens's distortion out first; the camera's `camera_info` is needed then.
    """

    height: int
    width: int
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    rectify: bool = False


@dataclass(frozen=True)
class ObservationSpec:
    """What a checkpoint needs to see.

    Attributes:
        frame: Base frame, in which every pose is expressed.
        joint_names: Joints read, in this order (arm first, then gripper).
        poses: Names of the pose streams needed besides `tip` (`goal`, `object`, ...).
        features: Entries of the state vector, in order; see `difftori_models.contract.features`.
        points: The cloud, or None.
        images: Image of each camera, by the camera's name; their order is that of the networks.
        frames: Frames that are seen at once: the present one and those before it. The first frame
            of an episode stands in for those that would have come before.
        frames_apart_s: Time between two of them [s].
        vectors: Length of each flat array that an environment without streams shows, by name.
    """

    frame: str
    joint_names: tuple[str, ...]
    poses: tuple[str, ...]
    features: tuple[str, ...]
    points: PointSpec | None = None
    images: Mapping[str, ImageSpec] = field(default_factory=dict)
    frames: int = 1
    frames_apart_s: float = 0.1
    vectors: Mapping[str, int] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Name of the pose that points are counted from."""
        return tip_at(self.clouds[0]) if self.joint_names else "tip"

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the message streams an observation is assembled from; cameras by their own."""
        return ("joint_states", *self.poses, *self.clouds, *self.images)

    @property
    def clouds(self) -> tuple[str, ...]:
        """Names of the streams that are clouds."""
        return self.points.clouds if self.points else ()

    @property
    def tips(self) -> tuple[str, ...]:
        """Names of the poses that joints give: the tip now, and when each camera looked."""
        every = ("tip", *map(tip_at, (*self.clouds, *self.images)))
        return every if self.joint_names else ()

    def kind(self, stream: str) -> str:
        """What a stream carries: `joint_states`, `points`, `image` or `pose`."""
        if stream == "joint_states":
            return stream
        if stream in self.clouds:
            return "points"
        return "image" if stream in self.images else "pose"


@dataclass(frozen=True)
class ActionSpec:
    """What a checkpoint's actions mean. Physical action = network action times `scale`.

    Attributes:
        kind: `ee_delta_pos` (x y z displacement of the tip in the base frame [m]), `joint_delta`
            (displacement of every arm joint [rad]), `joint_position` (arm joint positions
            [rad]) or `env` (what the environment of a suite takes, as it is: no robot's).
            Displacements add up along the plan, starting from the measured state.
        names: Name of every action entry, in order. The last one is `gripper` when there is one:
            -1 closed, 1 open.
        scale: Physical units per network unit, one per entry.
        low: Lower corner of the box of network actions, one per entry. `joint_position` has its
            limits here.
        high: Upper corner.
        dt_s: Time one action holds [s].
        horizon: Actions per plan, H.
        execute: Actions carried out before the next plan.
        tip_orientation: Orientation the tip keeps in `ee_delta_pos`, quaternion x y z w in the
            base frame.
        tip_low: Lower corner of the box that targets of the tip in `ee_delta_pos` stay in,
            x y z in the base frame [m]; None for none.
        tip_high: Upper corner.
    """

    kind: str
    names: tuple[str, ...]
    scale: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dt_s: float
    horizon: int
    execute: int
    tip_orientation: tuple[float, float, float, float] | None = None
    tip_low: tuple[float, float, float] | None = None
    tip_high: tuple[float, float, float] | None = None

    @property
    def plan_period_s(self) -> float:
        """Time between two plans [s]."""
        return self.execute * self.dt_s


@dataclass(frozen=True)
class Card:
    """The text that travels with the weights. See docs/reference/checkpoint.md for the JSON.

    Attributes:
        name: Name of the checkpoint.
        task: What it was trained for.
        robot: Robot profile it was trained with.
        method: What answers: a head on a base policy, or a base policy alone.
        observation: What the policy must see.
        action: What its actions mean.
        network: Sizes of the networks.
        normaliser: Mean and std of `state`, `action` and perhaps of clouds and images.
        solver: Settings of the solver; a `WorldSolver` for what was learned by reward.
        training: How it was trained, for the reader.
        results: Measured success, for the reader.
        license: Licence of the weights.
        weights_sha256: SHA-256 of the weights.
        schema: Version of the card.
        base: The base policy; None for what was learned by reward.
    """

    name: str
    task: str
    robot: str
    method: str
    observation: ObservationSpec
    action: ActionSpec
    network: Network
    normaliser: Mapping[str, Mapping[str, tuple[float, ...]]]
    solver: Solver
    training: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...] = ()
    license: str = "MIT"
    weights_sha256: str = ""
    schema: int = SCHEMA
    base: str | None = None
