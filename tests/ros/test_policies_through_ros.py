# SPDX-License-Identifier: MIT
"""Every policy, trained briefly and exported, drives the simulated arm through the ROS node."""

from pathlib import Path

import numpy as np
import pytest

from difftori_models.inference.backends.open_backend import open_backend
from difftori_models.inference.export import export
from difftori_models.training.imitation.config import TrainConfig
from difftori_models.training.imitation.trainer import Trainer
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.tasks import VALIDATION_SEEDS, find_task
from difftori_sim.demonstrations.record import record
from difftori_sim.evaluation.direct import evaluate_direct
from difftori_sim.evaluation.through_ros import evaluate_ros
from tests.support.promises import assert_promises

pytestmark = [pytest.mark.slow, pytest.mark.vulkan, pytest.mark.timeout(1800)]

POLICIES = {
    "bc": {"method": "bc", "base_steps": 400},
    "bc_rnn": {"method": "bc_rnn"},
    "ibc": {"method": "ibc", "base_steps": 30},
    "diffusion": {"method": "diffusion"},
    "residual": {"method": "residual", "base_steps": 400, "head_steps": 100},
    "difftori": {"base_steps": 400, "head_steps": 60},
    "difftori_on_diffusion": {"base": "diffusion"},
    "dynamics": {"score": "dynamics", "iterations": 3, "base_steps": 400},
}


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "push_cube.npz"
    record(find_task("push_cube"), "state", path, episodes=6)
    return path


@pytest.mark.parametrize("policy", list(POLICIES))
def test_a_briefly_trained_policy_drives_the_arm_through_ros_as_in_one_process(
    demos, tmp_path, policy
):
    brief = {"base_steps": 100, "head_steps": 20, "ema": 0.9, "batch": 64}
    config = TrainConfig(demos, tmp_path, policy, **(brief | POLICIES[policy]))
    folder = Trainer.open(config).run()
    export(folder, folder)
    assert open_backend(folder, "auto", "cpu", 1).backend == "onnx"
    direct, ros = [], []
    first_seed = VALIDATION_SEEDS.start
    evaluate_direct(folder, episodes=1, first_seed=first_seed, on_episode=direct.append)
    evaluate_ros(str(folder), episodes=1, first_seed=first_seed, on_episode=ros.append)
    (ours,), (theirs,) = direct, ros
    assert theirs.commands
    assert_promises(
        theirs.commands, theirs.command_times_ns, theirs.guard_reports, load_profile("panda")
    )
    actions = [step.motion.plan.actions for step in ours.steps]
    assert len(theirs.actions) == len(actions)
    np.testing.assert_allclose(theirs.actions, actions, rtol=0.0, atol=1e-5)
