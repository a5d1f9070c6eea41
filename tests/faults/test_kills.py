# SPDX-License-Identifier: MIT
"""Row 15 at random times: whatever is killed or stopped, the arm rests and never jumps."""

import pytest

from tests.support.bridged_harness import BridgedHarness
from tests.support.harness import Harness, running
from tests.support.kills import BLINKS, GUARD, KINDS, Kills

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(180)]

ROBOT_SIDE = [turn for turn in (*KINDS, *BLINKS) if turn[0] != "sim_bridge"]
SEED = 3


def assert_kept(episode):
    assert not episode.violation, episode.violation


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    for harness in running(tmp_path_factory.mktemp("kills"), guard=GUARD):
        yield Kills(harness, SEED)


@pytest.mark.parametrize(("name", "kind"), [("guard_node", "kill"), ("guard_node", "blink")])
def test_row_15_process_that_is_struck_at_a_random_time_leaves_no_jump_behind(kills, name, kind):
    episode = kills.episode(name, kind)
    assert_kept(episode)
    assert episode.step_rad is not None


@pytest.mark.slow
@pytest.mark.vulkan
def test_row_15_robot_that_stops_is_named_and_rests_on_its_own_clock_when_it_goes_on(tmp_path):
    harness = BridgedHarness(tmp_path, "pick_cube_state", guard=GUARD)
    try:
        episode = Kills(harness, SEED).episode("sim_bridge", "stop")
    finally:
        harness.close()
    assert_kept(episode)
    assert episode.named_s
    assert episode.rest_s, "it was in mid-motion"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_row_15_robot_side_rests_whatever_dies_at_fifty_random_times(tmp_path):
    harness = Harness(tmp_path, guard=GUARD)
    try:
        kills = Kills(harness, SEED)
        for k in range(50):
            assert_kept(kills.episode(*ROBOT_SIDE[k % len(ROBOT_SIDE)]))
    finally:
        harness.close()


@pytest.mark.slow
@pytest.mark.vulkan
@pytest.mark.timeout(900)
def test_row_15_robot_that_is_killed_comes_back_to_a_guard_that_waits_for_a_reset(tmp_path):
    harness = BridgedHarness(tmp_path, "pick_cube_state", guard=GUARD)
    try:
        kills = Kills(harness, SEED)
        for k in range(9):
            assert_kept(kills.episode("sim_bridge", ("kill", "stop", "blink")[k % 3]))
    finally:
        harness.close()
