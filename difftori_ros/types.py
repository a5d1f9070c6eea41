# SPDX-License-Identifier: MIT
"""The arrows of the data flow on the robot side, one frozen dataclass each: no ROS, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray

from difftori_ros.cubic import state_at, states_at

FloatArray = NDArray[np.float64]
QUATERNION_TOLERANCE = 1e-3
"""A quaternion whose norm is further from 1 than this is a fault, not rounding [1]."""


@dataclass(frozen=True)
class JointState:
    """Measured joints: `position` (n,) [rad or m], `velocity` (n,) [rad/s or m/s]; stamp [ns]."""

    stamp_ns: int
    names: tuple[str, ...]
    position: FloatArray
    velocity: FloatArray


@dataclass(frozen=True)
class Cloud:
    """A decoded cloud: finite `xyz` (N, 3) [m] in `frame_id`, of any memory layout.

    `rgb` (N, 3) is uint8 as cameras send it, or float32 in [0, 1], or None.
    """

    stamp_ns: int
    frame_id: str
    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8] | NDArray[np.float32] | None


@dataclass(frozen=True)
class CameraInfo:
    """A calibrated camera, of images `width` by `height` [px] in the optical frame `frame_id`.

    Attributes:
        stamp_ns: Stamp of the image that it belongs to [ns].
        frame_id: Optical frame: x right, y down, z forward.
        width: Columns.
        height: Rows.
        k: Camera matrix (3, 3) of the raw image [px].
        distortion_model: How `distortion` is meant, as in `sensor_msgs/distortion_models.hpp`.
        distortion: Coefficients (n,); all zero for a camera without distortion.
        r: Rotation (3, 3) from the raw camera to the rectified one.
        p: Projection (3, 4) to the rectified image [px].
    """

    stamp_ns: int
    frame_id: str
    width: int
    height: int
    k: FloatArray
    distortion_model: str
    distortion: FloatArray
    r: FloatArray
    p: FloatArray


@dataclass(frozen=True)
class Image:
    """A decoded picture of the camera at `frame_id`: `rgb`, shape (H, W, 3), uint8."""

    stamp_ns: int
    frame_id: str
    rgb: NDArray[np.uint8]


@dataclass(frozen=True)
class Pose:
    """A pose (7,): x y z [m], quaternion x y z w, expressed in `frame_id`."""

    stamp_ns: int
    frame_id: str
    pose: FloatArray


@dataclass(frozen=True)
class Trajectory:
    """Joint motion that ends at rest; cubic between its points, held before and after them.

    Attributes:
        stamp_ns: Stamp of the observation it was made from; `times` count from here [ns].
        joint_names: Order of the columns.
        times: Strictly increasing, shape (P,) [s]; rounded to whole nanoseconds, as in a message,
            so that a trajectory is the same on both sides of a topic.
        positions: Shape (P, n) [rad or m].
        velocities: Shape (P, n) [rad/s or m/s]; the last row is zero.
    """

    stamp_ns: int
    joint_names: tuple[str, ...]
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray

    def __post_init__(self) -> None:
        """Round the times."""
        object.__setattr__(self, "times", np.rint(self.times * 1e9) / 1e9)

    @property
    def end_ns(self) -> int:
        """Time of the last point [ns]."""
        return self.stamp_ns + round(float(self.times[-1]) * 1e9)

    def sample(self, time_ns: int) -> tuple[FloatArray, FloatArray]:
        """Position and velocity at `time_ns`, each of shape (n,)."""
        t = (time_ns - self.stamp_ns) * 1e-9
        position, velocity, _ = state_at(self.times, self.positions, self.velocities, t)
        moving = self.times[0] <= t < self.times[-1]
        return position, velocity if moving else np.zeros_like(velocity)

    def samples(self, times_ns: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Positions and velocities at the times (K,) [ns], each of shape (K, n)."""
        t = (np.asarray(times_ns) - self.stamp_ns) * 1e-9
        positions, velocities = states_at(self.times, self.positions, self.velocities, t)
        ended = t >= self.times[-1]
        positions[ended] = self.positions[-1]
        velocities[ended | (t < self.times[0])] = 0.0
        return positions, velocities


class Level(IntEnum):
    """Severity, with the numbers of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


class GuardState(Enum):
    """What the guard is doing; the value says it in words."""

    INACTIVE = "nothing is commanded"
    TRACKING = "valid plans are passed on"
    COAST = "no new plan has come, and the arm follows the rest of the last one"
    BRAKE = "the arm brakes to rest"
    FAULT = "the arm rests until ~/reset is called"

    @property
    def follows_plans(self) -> bool:
        """Whether the arm follows the last plan that was passed on."""
        return self in (GuardState.TRACKING, GuardState.COAST)

    @property
    def has_stopped_the_arm(self) -> bool:
        """Whether the guard has taken the arm from the policy."""
        return self in (GuardState.BRAKE, GuardState.FAULT)


class Reason(Enum):
    """Every code that can stand on `~/status`; the value is the sentence the operator reads."""

    OK = "tracking the newest plan"
    WAITING = "no usable observation yet"
    MISSING = "a stream has not delivered yet"
    STALE = "a stream is older than its age limit"
    BAD_MESSAGE = "a message was dropped because it could not be read"
    BAD_JOINT_STATE = "the joint states do not fit the robot profile"
    UNKNOWN_FRAME = "a cloud or pose came in a frame whose transform is not known"
    TOO_FEW_POINTS = "too few points are left inside the crop box"
    FROZEN = "a camera or cloud delivers the same content again and again"
    FAR_FROM_TRAINING = "the input is far from what the policy was trained on"
    CLOCK_JUMPED = "the clock has jumped: inputs and plans from before count no more"
    NO_PLAN = "the network gave no usable plan"
    DIVERGED = "the solver has diverged in several consecutive plans: the policy is latched"
    DEADLINE = "a plan takes far longer than its deadline: the planner is given up"
    DEVICE_LOST = "the device that runs the networks has failed"
    EXCEPTION = "an error that must not happen: the log holds its traceback"
    IK_FAILED = "the planned tip position cannot be reached: the plan ends where it still can"
    JOINT_MISMATCH = "the plan does not name exactly the joints of the robot profile"
    NON_FINITE = "the plan holds numbers that are not finite"
    BAD_TIMES = "the plan's times are not strictly increasing, start too early, or end in the past"
    POSITION_LIMIT = "the plan leaves the joint position limits"
    VELOCITY_LIMIT = "the plan exceeds the joint velocity limits"
    ACCELERATION_LIMIT = "the plan exceeds the joint acceleration limits"
    JERK_LIMIT = "the plan exceeds the joint jerk limits"
    WORKSPACE = "the plan leaves the workspace box of the tip"
    SELF_COLLISION = "the plan brings the arm too near to itself"
    GUARD_ACTIVE = "the guard has slowed the plan down along its path to keep the limits"
    NOT_AT_REST = "the plan does not end at rest"
    STALE_PLAN = "the plan was made from inputs that are too old"
    START_MISMATCH = "the plan does not start where the arm is measured to be"
    DISCONTINUOUS = "the plan does not join the motion that is under way"
    NOT_FOLLOWING = "the arm does not follow the plan: it brakes to rest"
    PLANS_LATE = "no new plan has come: the arm follows the rest of the last one"
    PLANS_LOST = "no new plan has come for too long: the arm brakes to rest"
    POLICY_LOST = "the policy process has gone silent: the arm brakes to rest"
    JOINT_STATES_LOST = "the joint states have gone silent: the arm brakes to rest"
    ESTOP = "the emergency stop is pressed: the arm brakes and stays until ~/reset"
    PAUSED = "paused: the arm brakes, and plans are refused until it is resumed"
    SECOND_COMMANDER = "another node commands the same controller"
    NO_CONTROLLER = "no controller listens to the commands"
    START_POSE = "the arm is too far from the pose that it must start from"
    STALLED = "the guard's own process stood still: the arm went on with what it had, or brakes"
    RESTARTED = "plans were flowing before the guard was started: it waits for ~/reset"
    FAULT_LATCHED = "a fault is latched until ~/reset is called"
    STOPPED = "deactivated: nothing is commanded"
    RECORDING = "the last seconds are kept, to be written when a fault occurs"
    GUARD_LOST = "the guard process has gone silent: no node commands the arm"
    DISK_ERROR = "the recording of the last seconds cannot be written"
