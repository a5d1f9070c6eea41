# SPDX-License-Identifier: MIT
"""A look at the live inputs shows the cloud, the ages and how far they are from the training."""

import dataclasses
import io

import numpy as np
import pytest
import rclpy
from PIL import Image
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console

from difftori_models.checkpoint import load_card
from difftori_models.contract.input_statistics import POINTS, summary_statistics
from difftori_models.contract.specs import Observation
from difftori_models.data import (
    DemoEpisode,
    Demos,
    DemosError,
    Meta,
    load_demos,
    state_vectors,
    write_demos,
)
from difftori_models.networks.normaliser import statistics
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import config_dir, find_checkpoint
from difftori_ros.tools.input_report import nearest
from difftori_ros.tools.inspect_node import InspectNode
from tests.conftest import next_domain
from tests.support.fake_robot import PROFILE, FakeRobot

VALUES = values_of("policy_node", POLICY, [config_dir() / "sim.yaml"])
VALUES |= {"joint_states_max_age_s": 5.0, "points_max_age_s": 5.0, "pose_max_age_s": 5.0}


@pytest.fixture
def looked(tmp_path):
    """A function that looks once at the fake robot; returns exit status, text and picture."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(next_domain()))
    executor = SingleThreadedExecutor(context=context)
    robot_node = rclpy.create_node("robot", context=context)
    robot = FakeRobot(robot_node)
    executor.add_node(robot_node)
    opened = [robot_node]

    def look(card, **options):
        png = tmp_path / "seen.png"
        console = Console(file=io.StringIO(), width=160)
        node = InspectNode(
            card, PROFILE, VALUES, png, console, once=True, context=context, **options
        )
        opened.append(node)
        executor.add_node(node)
        for _ in range(1000):
            robot.publish()
            executor.spin_once(timeout_sec=0.02)
            node.step()
            if node.finished is not None:
                break
        node.stop()
        return node.finished, console.file.getvalue(), png

    yield look
    executor.shutdown()
    for node in opened:
        node.destroy_node()
    context.try_shutdown()


def demos_like(card, path):
    """Demonstrations with the card's observation, standing about where the fake robot stands."""
    rng, steps, spec = np.random.default_rng(0), 5, card.observation
    pose = np.array([0.6, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])
    clouds = rng.uniform(0.4, 0.5, (steps, spec.points.count, 6))
    still = Observation(
        stamp_ns=0,
        joint_names=spec.joint_names,
        position=np.append(PROFILE.home, 0.04),
        velocity=np.zeros(8),
        poses=dict.fromkeys(("tip", "tip@points", "goal"), pose),
    )
    episode = DemoEpisode(
        0, [dataclasses.replace(still, points=cloud) for cloud in clouds], np.zeros((steps, 4))
    )
    meta = Meta(card.task, card.robot, 0.0, spec, card.action, "a test")
    write_demos(path, Demos.from_episodes(meta, [episode]))
    return load_demos(path)


def test_a_look_shows_ages_and_distances_and_writes_a_picture_beside_a_sample(looked, tmp_path):
    card = load_card(find_checkpoint("pick_cube_points"))
    demos = demos_like(card, tmp_path / "demos.npz")
    steps = np.arange(len(demos))
    seen = summary_statistics(card.observation, demos.poses, demos.points, {}, steps)
    card = dataclasses.replace(card, normaliser={**card.normaliser, **seen})
    status, text, png = looked(card, demos=demos)
    assert status == 0
    for part in ("joint_states", "points", "goal", "camera_optical_frame", "cloud centroid.x"):
        assert part in text
    assert "standard deviations from its mean" in text  # random points where a table should be
    with Image.open(png) as picture:
        alone_height = picture.height
    assert looked(card)[0] == 0
    with Image.open(png) as picture:
        assert picture.height < alone_height  # no sample below


def test_a_card_without_cloud_statistics_says_so(looked):
    card = load_card(find_checkpoint("pick_cube_points"))
    card = dataclasses.replace(
        card, normaliser={k: v for k, v in card.normaliser.items() if k != POINTS}
    )
    status, text, _ = looked(card)
    assert status == 0
    assert "the card does not tell what points looked like" in text


def test_demonstrations_of_another_observation_are_refused(tmp_path):
    card = load_card(find_checkpoint("pick_cube_points"))
    demos = demos_like(card, tmp_path / "demos.npz")
    other = load_card(find_checkpoint("pick_cube_state"))
    with pytest.raises(DemosError, match="show something else than checkpoint 'pick_cube_state'"):
        nearest(demos, other, demos.observation(0))


def test_a_policy_of_two_frames_is_shown_beside_the_demonstrations_it_was_stacked_from(tmp_path):
    card = load_card(find_checkpoint("pick_cube_points"))
    demos = demos_like(card, tmp_path / "demos.npz")
    stacked = demos.stacked(2, 0.1)
    spec, known = stacked.meta.observation, statistics(state_vectors(stacked), stacked.actions)
    two = dataclasses.replace(card, observation=spec, normaliser=known)
    found = nearest(demos, two, stacked.observation(3))
    assert len(found.past) == 1
    np.testing.assert_array_equal(found.points, demos.points[0])  # of states alike the first
