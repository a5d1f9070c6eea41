# SPDX-License-Identifier: MIT
"""A bag of the simulated robot, recorded by the command, gives the plans that were made."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from difftori_models.checkpoint import load_card
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import Planner
from difftori_ros.bringup.node_specs import sim_policy_settings
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.recording.bag_reader import Bag
from difftori_ros.recording.bag_replay import replay
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.tasks import VALIDATION_SEEDS
from difftori_sim.ros.process_operator import Operator

pytestmark = [pytest.mark.vulkan, pytest.mark.slow, pytest.mark.timeout(300)]

CHECKPOINT = "pick_cube_state"


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """The bag of an episode, and the actions that were planned in it."""
    folder = tmp_path_factory.mktemp("bag")
    path, log = folder / "episode.mcap", folder / "log"
    domain = os.environ["ROS_DOMAIN_ID"]
    with Operator(CHECKPOINT, logs=folder, domain=int(domain)) as operator, log.open("wb") as out:
        words = ["bag", "record", "--checkpoint", CHECKPOINT, "--out", str(path)]
        recorder = subprocess.Popen(
            [sys.executable, "-m", "difftori_sim.cli.main", *words], stdout=out, stderr=out
        )
        try:
            names = operator.node.get_node_names
            operator.wait(lambda: "bag_node" in names(), 60.0, "the recorder")
            operator.run(VALIDATION_SEEDS.start)  # until all know each other, some is not heard
            episode = operator.run(VALIDATION_SEEDS.start + 1)
        finally:
            recorder.send_signal(signal.SIGINT)
            assert recorder.wait(30.0) == 0, log.read_text()
    return path, episode


def test_replayed_bag_gives_the_plans_that_were_made(driven):
    path, episode = driven
    card, profile = load_card(find_checkpoint(CHECKPOINT)), load_profile("panda")
    config, settings = sim_policy_settings("lockstep")
    values = values_of("policy_node", POLICY, [config]) | settings
    folder = find_checkpoint(CHECKPOINT)
    planner = Planner(folder, graphs=ready_graphs(folder))
    planner.reset(values["seed"])
    with Bag(path) as bag:
        seen = list(replay(bag, card, profile, values))
    planned = {int(status["stamp_ns"]): k for k, status in enumerate(episode.statuses)}
    assert {o.stamp_ns for o in seen} >= set(planned)
    actions = [planner.plan(o).actions for o in seen if o.stamp_ns in planned]
    np.testing.assert_allclose(actions, episode.actions, rtol=0.0, atol=1e-6)
