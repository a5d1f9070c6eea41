# SPDX-License-Identifier: MIT
"""What the networks see is bound by name, complete, or refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from difftori_models.contract.features import (
    FeatureError,
    policy_points,
    state_names,
    state_size,
    state_vector,
)
from difftori_models.contract.specs import Observation, ObservationSpec, PointSpec

SPEC = ObservationSpec(
    frame="base",
    joint_names=("a", "b"),
    poses=("goal", "object"),
    features=("position", "velocity", "tip", "goal.quat", "goal-tip", "goal-object"),
    points=PointSpec("base", 4, True, (-1.0,) * 3, (1.0,) * 3),
)
OBSERVATION = Observation(
    stamp_ns=5,
    joint_names=("b", "extra", "a"),
    position=np.array([2.0, 9.0, 1.0]),
    velocity=np.array([0.2, 0.9, 0.1]),
    poses={
        "tip": np.array([0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0]),
        "tip@points": np.array([0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0]),
        "goal": np.array([0.5, 0.5, 0.5, 0.0, 0.0, -0.8, -0.6]),
        "object": np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    },
    points=np.full((4, 6), 0.5, dtype=np.float32),
)


def test_entries_stand_in_the_order_of_the_spec_under_their_names() -> None:
    values = dict(zip(state_names(SPEC), state_vector(OBSERVATION, SPEC), strict=True))
    assert len(values) == state_size(SPEC) == 17
    expected = {
        "position.a": 1.0,
        "position.b": 2.0,
        "velocity.b": 0.2,
        "tip.z": 0.3,
        "goal.quat.z": 0.8,
        "goal-tip.x": 0.4,
        "goal-object.z": -0.5,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value), name


def test_joints_are_bound_by_name_whatever_their_order() -> None:
    order = [2, 0, 1]
    shuffled = replace(
        OBSERVATION,
        joint_names=tuple(OBSERVATION.joint_names[k] for k in order),
        position=OBSERVATION.position[order],
        velocity=OBSERVATION.velocity[order],
    )
    assert np.array_equal(state_vector(shuffled, SPEC), state_vector(OBSERVATION, SPEC))


def test_a_quaternion_and_its_negative_are_the_same_feature_also_for_a_hand_pointing_down() -> (
    None
):
    spec = replace(SPEC, features=("tip.quat",))
    for w in (1e-4, -1e-4):
        pose = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, w])
        for sign in (1, -1):
            pose[3:] *= sign
            seen = state_vector(replace(OBSERVATION, poses={"tip": pose}), spec)
            np.testing.assert_allclose(seen, [1.0, 0.0, 0.0, w], atol=1e-7)


def test_points_are_counted_from_the_tip_and_move_with_it() -> None:
    points = policy_points(OBSERVATION, SPEC)
    np.testing.assert_allclose(points[0], [0.4, 0.3, 0.2, 0.5, 0.5, 0.5], atol=1e-6)
    shift = np.array([0.25, -0.5, 0.125])
    tip = OBSERVATION.poses["tip"].copy()
    tip[:3] += shift
    cloud = np.array(OBSERVATION.points)
    cloud[:, :3] += shift.astype(np.float32)
    moved = replace(OBSERVATION, poses={"tip": tip, "tip@points": tip}, points=cloud)
    np.testing.assert_allclose(policy_points(moved, SPEC), points, atol=1e-6)
    assert OBSERVATION.points is not None
    assert (OBSERVATION.points == 0.5).all(), "the caller's cloud must stay as it was"


def test_a_late_cloud_is_counted_from_where_the_tip_was_and_the_way_since_is_a_feature() -> None:
    now = OBSERVATION.poses["tip"] + np.array([0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0])
    late = replace(OBSERVATION, poses={**OBSERVATION.poses, "tip": now})
    np.testing.assert_array_equal(policy_points(late, SPEC), policy_points(OBSERVATION, SPEC))
    spec = replace(SPEC, features=("tip-tip@points",))
    np.testing.assert_allclose(state_vector(late, spec), [0.0, 0.25, 0.0], atol=1e-7)
    np.testing.assert_array_equal(state_vector(OBSERVATION, spec), np.zeros(3, np.float32))


def test_colour_is_left_out_when_the_spec_has_none() -> None:
    assert SPEC.points is not None
    spec = replace(SPEC, points=replace(SPEC.points, color=False))
    assert policy_points(OBSERVATION, spec).shape == (4, 3)


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        (replace(OBSERVATION, poses={"tip": np.zeros(7)}), ["goal", "tip"]),
        (replace(OBSERVATION, joint_names=("b", "x", "y")), ["joints a", "b, x, y"]),
        (
            replace(OBSERVATION, poses={**OBSERVATION.poses, "goal": np.zeros(3)}),
            ["goal", "(7,)", "(3,)"],
        ),
    ],
)
def test_what_is_missing_is_named_with_what_exists(
    observation: Observation, words: list[str]
) -> None:
    with pytest.raises(FeatureError) as caught:
        state_vector(observation, SPEC)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("feature", ["gaol", "gaol-tip", "goal-tip-object", ".quat", "goal.rot"])
def test_an_unknown_feature_is_refused_with_the_known_poses(feature: str) -> None:
    with pytest.raises(FeatureError, match=r"is not known.*tip, tip@points, goal, object"):
        state_size(replace(SPEC, features=(feature,)))


def test_points_that_do_not_fit_the_spec_are_refused() -> None:
    assert SPEC.points is not None
    for observation, spec, words in (
        (replace(OBSERVATION, points=None), SPEC, "has none"),
        (replace(OBSERVATION, points=np.zeros((3, 6), np.float32)), SPEC, r"\(3, 6\)"),
        (replace(OBSERVATION, points=np.zeros((4, 3), np.float32)), SPEC, r"\(4, 3\)"),
        (OBSERVATION, replace(SPEC, points=replace(SPEC.points, frame="camera")), "camera"),
        (OBSERVATION, replace(SPEC, points=None), "spec has none"),
    ):
        with pytest.raises(FeatureError, match=words):
            policy_points(observation, spec)
