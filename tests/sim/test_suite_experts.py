# SPDX-License-Identifier: MIT
"""Experts of the suites succeed about as often as the documents say."""

import pytest

from difftori_sim.suites import open_suite
from difftori_sim.suites.env import SuiteError

pytestmark = [pytest.mark.slow, pytest.mark.vulkan, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("suite", "task", "noise", "least"),
    [
        ("metaworld", "assembly", 0.1, 5),
        ("metaworld", "pick-place-wall", 0.1, 5),
        ("maniskill", "LiftPegUpright", 0.0, 4),
        ("maniskill", "StackPyramid", 0.0, 3),
        ("maniskill", "PushT", 0.0, 3),
        ("robomimic", "Lift", 0.1, 5),
    ],
)
def test_expert_succeeds_on_training_seeds(suite, task, noise, least):
    if suite == "robomimic":
        pytest.importorskip("robosuite", reason="it comes with the extra robomimic")
    env = open_suite(suite, task, "state")
    episodes = [env.demonstrate(seed, noise) for seed in range(6)]
    env.close()
    assert sum(bool(episode.success) for episode in episodes) >= least
    for episode in episodes:
        assert len(episode.actions) == len(episode.observations) <= env.info.max_steps


def test_a_planner_makes_the_same_plan_again():
    env = open_suite("maniskill", "LiftPegUpright", "state")
    first, again = env.demonstrate(4, 0.0), env.demonstrate(4, 0.0)
    env.close()
    assert len(first.actions) == len(again.actions)


def test_task_without_a_solution_is_refused():
    env = open_suite("maniskill", "RollBall", "state")
    with pytest.raises(SuiteError, match="'RollBall-v1' has no expert"):
        env.demonstrate(0, 0.0)
    env.close()
