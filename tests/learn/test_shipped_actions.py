# SPDX-License-Identifier: MIT
"""Shipped checkpoints do today what they did when they were recorded, bit for bit."""

import numpy as np
import pytest

from difftori_ros.config.paths import available_checkpoints, find_checkpoint
from tests.support.shipped_actions import COUNT, FOLDER, actions_of, machine, recorded


def test_every_shipped_checkpoint_is_recorded():
    assert sorted(path.stem for path in FOLDER.glob("*.npz")) == sorted(available_checkpoints())


@pytest.mark.parametrize("name", available_checkpoints())
def test_shipped_checkpoint_gives_the_recorded_actions(name):
    where, observations, actions = recorded(name)
    assert len(observations) == COUNT
    got = actions_of(find_checkpoint(name), observations)
    assert np.isfinite(got).all()
    if machine() == where:
        np.testing.assert_array_equal(got, actions)
    else:
        # another processor adds in another order
        np.testing.assert_allclose(got, actions, rtol=0, atol=1e-5)
