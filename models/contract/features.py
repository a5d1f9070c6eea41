# SPDX-License-Identifier: MIT
"""What the networks see of an observation: a state vector, a set of points, images; by name.

Training and deployment call these same functions, so that a replayed observation gives bit for
bit the numbers the policy was trained on. With several frames each gives the same numbers, the
present one first: states one after the other, points and rows of images likewise. numpy only.

Entries of `ObservationSpec.features`, in the order of the state vector:

| entry | numbers |
|---|---|
| `position`, `velocity` | one per joint of `spec.joint_names` [rad, m; rad/s, m/s] |
| `<pose>` | x y z of that pose in the base frame [m]; `tip` is always there, and for every cloud \
and camera `tip@<stream>`, where the tip was when it looked |
| `<pose>.quat` | its quaternion x y z w, with the sign that makes its largest entry positive |
| `<a>-<b>` | x y z of pose a minus x y z of pose b [m], as in `goal-tip` |
| `<vector>` | all of that vector of `spec.vectors` |
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from difftori_models.errors import LearningError

from .network_settings import Network
from .specs import FloatArray, Observation, ObservationSpec


class FeatureError(LearningError, ValueError):
    """A feature cannot be made; the message names what was wanted and what exists."""


def state_names(spec: ObservationSpec) -> tuple[str, ...]:
    """One name per entry of the state vector, such as `position.panda_joint1` or `goal-tip.x`.

    Those of the frame before the present one end in `@-1`, and so on.

    Raises:
        FeatureError: An entry of `spec.features` is not known, or names a pose that the spec
            lacks.
    """
    names: list[str] = []
    for feature in spec.features:
        _poses_of(feature, spec)
        if feature in ("position", "velocity"):
            names += [f"{feature}.{joint}" for joint in spec.joint_names]
        elif feature in spec.vectors:
            names += [f"{feature}.{k}" for k in range(spec.vectors[feature])]
        else:
            axes = "xyzw" if feature.endswith(".quat") else "xyz"
            names += [f"{feature}.{axis}" for axis in axes]
    before = [f"{name}@-{k}" for k in range(1, spec.frames) for name in names]
    return (*names, *before)


def state_size(spec: ObservationSpec) -> int:
    """Length D of the state vector."""
    return len(state_names(spec))


def network_for(spec: ObservationSpec) -> Network:
    """The network whose inputs are what the spec shows; all else has its default.

    Raises:
        FeatureError: An entry of `spec.features` is not known.
    """
    channels = 0 if spec.points is None else (6 if spec.points.color else 3)
    return Network(state_size(spec), channels, len(spec.images), spec.frames)


def frames_of(
    observation: Observation, spec: ObservationSpec
) -> tuple[tuple[Observation, ...], ObservationSpec]:
    """The frames of an observation, the present one first, and what each of them shows.

    Raises:
        FeatureError: There are fewer than the spec wants.
    """
    frames = (replace(observation, past=()), *observation.past[: spec.frames - 1])
    if len(frames) < spec.frames:
        raise FeatureError(f"the spec asks for {spec.frames} frames, there are {len(frames)}")
    return frames, replace(spec, frames=1)


def state_vector(observation: Observation, spec: ObservationSpec) -> NDArray[np.float32]:
    """The state vector, shape (D,), not normalised; a number that is not finite stays what it is.

    Raises:
        FeatureError: The observation lacks a joint, a pose or a frame that the spec asks for.
    """
    if spec.frames > 1:
        frames, alone = frames_of(observation, spec)
        return np.concatenate([state_vector(frame, alone) for frame in frames])
    columns: NDArray[np.intp] | None = None
    parts: list[FloatArray] = []
    for feature in spec.features:
        if feature in ("position", "velocity"):
            columns = _columns(observation, spec) if columns is None else columns
            parts.append(np.asarray(getattr(observation, feature), dtype=np.float64)[columns])
            continue
        if feature in spec.vectors:
            parts.append(_vector(observation, feature, spec.vectors[feature]))
            continue
        poses = [_pose(observation, name, feature) for name in _poses_of(feature, spec)]
        if feature.endswith(".quat"):
            parts.append(_one_sign(poses[0][3:]))
        elif len(poses) == 2:
            parts.append(poses[0][:3] - poses[1][:3])
        else:
            parts.append(poses[0][:3])
    return np.concatenate(parts).astype(np.float32)


def policy_points(observation: Observation, spec: ObservationSpec) -> NDArray[np.float32]:
    """The points as the encoder sees them, shape (N, 3) or (N, 6) as the spec says.

    x y z are counted from where the tip was when the (first) cloud was seen, with axes parallel to
    the base frame [m], so that a scene looks the same wherever in the workspace hand and objects
    stand together, and however old the cloud is; rgb stays in [0, 1]. `Normaliser.points` divides
    by the card's `network.point_scale` afterwards. How far the tip has come since is the feature
    `tip-tip@<stream>`.

    Raises:
        FeatureError: No points, too few columns, another count than the spec's, or a cloud frame
            other than the base frame.
    """
    if spec.frames > 1:
        frames, alone = frames_of(observation, spec)
        return np.concatenate([policy_points(frame, alone) for frame in frames])
    want = spec.points
    if want is None:
        raise FeatureError("points were asked for, but the observation spec has none")
    if want.frame != spec.frame:
        raise FeatureError(
            f"points must be in the base frame '{spec.frame}', the spec says '{want.frame}'"
        )
    if observation.points is None:
        raise FeatureError(f"the spec asks for {want.count} points, the observation has none")
    width = 6 if want.color else 3
    shape = observation.points.shape
    if len(shape) != 2 or shape[0] != want.count or shape[1] < width:
        raise FeatureError(f"points must have shape ({want.count}, {width}), got {shape}")
    points = np.array(observation.points[:, :width], dtype=np.float32)
    origin = _pose(observation, spec.origin, "points")
    points[:, :3] -= origin[:3].astype(np.float32)
    return points


def policy_images(
    observation: Observation, spec: ObservationSpec
) -> tuple[NDArray[np.uint8], ...]:
    """The images in the spec's order, each of shape (H, W, 3), uint8 RGB.

    Several frames stand one below the other, the present one on top: (frames * H, W, 3).

    Raises:
        FeatureError: The observation lacks an image, or one has another shape or type.
    """
    if spec.frames > 1:
        frames, alone = frames_of(observation, spec)
        stacks = [policy_images(frame, alone) for frame in frames]
        return tuple(np.concatenate(stack) for stack in zip(*stacks, strict=True))
    images = []
    for name, want in spec.images.items():
        if name not in observation.images:
            raise FeatureError(
                f"image '{name}' is wanted; the observation has "
                f"{', '.join(sorted(observation.images)) or 'no images'}"
            )
        image, shape = observation.images[name], (want.height, want.width, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise FeatureError(
                f"image '{name}' must have shape {shape} and type uint8, got {image.shape} "
                f"{image.dtype}"
            )
        images.append(image)
    return tuple(images)


def blank_images(spec: ObservationSpec) -> tuple[NDArray[np.uint8], ...]:
    """One black image of every camera, as a batch (1, frames * H, W, 3), to try things out."""
    return tuple(
        np.zeros((1, spec.frames * want.height, want.width, 3), np.uint8)
        for want in spec.images.values()
    )


def blank_points(spec: ObservationSpec) -> NDArray[np.float32] | None:
    """Points in the tip, as a batch (1, frames * N, C), to try things out; None without points."""
    want = spec.points
    if want is None:
        return None
    return np.zeros((1, spec.frames * want.count, 6 if want.color else 3), np.float32)


def _poses_of(feature: str, spec: ObservationSpec) -> tuple[str, ...]:
    known = (*spec.tips, *spec.poses)
    if feature in ("position", "velocity") or feature in spec.vectors:
        return ()
    if feature in known:
        return (feature,)
    names = (feature[: -len(".quat")],) if feature.endswith(".quat") else tuple(feature.split("-"))
    if len(names) <= 2 and all(name in known for name in names):
        return names
    raise FeatureError(
        f"feature '{feature}' is not known; it is one of position, velocity, <pose>, <pose>.quat, "
        f"<a>-<b>, with poses {', '.join(known) or 'none'}, "
        f"or a vector: {', '.join(spec.vectors) or 'none'}"
    )


def _vector(observation: Observation, name: str, size: int) -> FloatArray:
    if name not in observation.vectors:
        raise FeatureError(
            f"vector '{name}' is wanted; the observation has "
            f"{', '.join(sorted(observation.vectors)) or 'no vectors'}"
        )
    vector = np.asarray(observation.vectors[name], dtype=np.float64)
    if vector.shape != (size,):
        raise FeatureError(f"vector '{name}' must have shape ({size},), got {vector.shape}")
    return vector


def _pose(observation: Observation, name: str, feature: str) -> FloatArray:
    if name not in observation.poses:
        raise FeatureError(
            f"feature '{feature}' needs pose '{name}'; the observation has "
            f"{', '.join(sorted(observation.poses)) or 'no poses'}"
        )
    pose = np.asarray(observation.poses[name], dtype=np.float64)
    if pose.shape != (7,):
        raise FeatureError(f"pose '{name}' must have shape (7,), got {pose.shape}")
    return pose


def _columns(observation: Observation, spec: ObservationSpec) -> NDArray[np.intp]:
    where = {name: k for k, name in enumerate(observation.joint_names)}
    missing = [name for name in spec.joint_names if name not in where]
    if missing:
        raise FeatureError(
            f"joints {', '.join(missing)} are missing; the observation has "
            f"{', '.join(observation.joint_names) or 'none'}"
        )
    return np.array([where[name] for name in spec.joint_names], dtype=np.intp)


def _one_sign(quaternion: FloatArray) -> FloatArray:
    # w >= 0 would flip at random for a hand that points down, where w is about 0.
    return quaternion if quaternion[np.argmax(np.abs(quaternion))] >= 0 else -quaternion


def episode_noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers for the plans of an episode; a seed has the same ones everywhere."""
    return np.random.default_rng((seed, 1)).standard_normal(shape).astype(np.float32)
