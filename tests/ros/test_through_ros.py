# SPDX-License-Identifier: MIT
"""The same checkpoint does the same through three processes as in one."""

import numpy as np
import pytest

from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.evaluation.direct import evaluate_direct
from difftori_sim.evaluation.through_ros import evaluate_ros
from tests.support.promises import assert_promises

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(900)]


def run_both(checkpoint, episodes):
    direct, ros = [], []
    alone = evaluate_direct(checkpoint, episodes=episodes, on_episode=direct.append)
    through = evaluate_ros(checkpoint, episodes=episodes, on_episode=ros.append)
    for episode in ros:
        assert episode.commands
        assert_promises(
            episode.commands,
            episode.command_times_ns,
            episode.guard_reports,
            load_profile("panda"),
        )
    return alone, through, direct, ros


def assert_same_actions(direct, ros):
    for ours, theirs in zip(direct, ros, strict=True):
        assert ours.seed == theirs.seed
        actions = [step.motion.plan.actions for step in ours.steps]
        assert len(actions) == len(theirs.actions)
        np.testing.assert_allclose(theirs.actions, actions, rtol=0.0, atol=1e-5)


def test_three_processes_give_the_actions_of_one(monkeypatch):
    alone, through, direct, ros = run_both("pick_cube_state", 3)
    assert_same_actions(direct, ros)
    assert through.success_by_seed == alone.success_by_seed
    assert alone.successes >= 2


@pytest.mark.slow
def test_three_processes_give_the_actions_of_one_on_twenty_test_seeds():
    alone, through, direct, ros = run_both("pick_cube_state", 20)
    assert alone.first_seed == through.first_seed == TEST_SEEDS.start
    assert_same_actions(direct, ros)
    assert through.success_by_seed == alone.success_by_seed


@pytest.mark.slow
def test_point_cloud_success_through_ros_is_that_of_one_process_on_twenty_test_seeds():
    alone, through, _, _ = run_both("pick_cube_points", 20)
    assert abs(through.successes - alone.successes) <= 1


@pytest.mark.slow
def test_pictures_of_table_and_hand_give_the_actions_of_one_process():
    alone, through, direct, ros = run_both("stack_cube_wrist_rgb", 2)
    assert_same_actions(direct, ros)
    assert through.success_by_seed == alone.success_by_seed
