# SPDX-License-Identifier: MIT
"""What the benchmarks make up fits every checkpoint that ships, clouds and images alike."""

import numpy as np
import pytest

from benchmarks.support.made_up import made_up
from difftori_models.inference.planner import Planner
from difftori_ros.config.paths import available_checkpoints, find_checkpoint


@pytest.mark.parametrize("name", available_checkpoints())
def test_every_shipped_checkpoint_plans_from_made_up_observations(name):
    planner = Planner(find_checkpoint(name), backend="eager")
    plan = planner.plan(made_up(planner.card.observation, np.random.default_rng(0)))
    assert plan.status.usable
    assert np.isfinite(plan.actions).all()
