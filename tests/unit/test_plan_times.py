# SPDX-License-Identifier: MIT
"""Plans are due at their rate, from joint states of the due time, or once for every scene."""

import numpy as np
import pytest

from difftori_models.contract.specs import ObservationSpec
from difftori_ros.observation import Observer
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.policy.plan_schedule import PlanTimes
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import JointState, Pose

PANDA = load_profile("panda")
MS = 1_000_000
PERIOD_MS = 100


class Clockwork:
    def __init__(self, trigger):
        spec = ObservationSpec("panda_link0", PANDA.joint_names, ("goal",), ("position",))
        self.observer = Observer(spec, PANDA, Kinematics(PANDA), FrameTree())
        self.times = PlanTimes(self.observer.streams, trigger, PERIOD_MS * 1e-3)

    def joints(self, ms):
        position = np.append(PANDA.home, 0.04)
        state = JointState(ms * MS, PANDA.joint_names, position, np.zeros(8))
        self.observer.streams.push("joint_states", state, ms * MS)

    def goal(self, ms):
        pose = Pose(ms * MS, "panda_link0", np.array([0.5, 0, 0, 0, 0, 0, 1.0]))
        self.observer.streams.push("goal", pose, ms * MS)

    def planned(self, stamps):
        """Stamps [ms] of the joint states that a plan is made from, when they come in this way."""
        found = []
        for ms in stamps:
            self.joints(ms)
            if self.times.time_ns(ms * MS) is not None and self.times.observed(ms * MS):
                found.append(ms)
        return found


def test_timer_plans_at_its_rate_from_the_first_joint_states_on():
    assert Clockwork("timer").planned(range(1000, 1400, 10)) == [1000, 1090, 1190, 1290, 1390]


def test_timer_keeps_its_grid_when_joint_states_are_late():
    # 130 ms of the grid's 100 stand for the due time; the next one is back on the grid
    stamps = [1000, 1130, *range(1140, 1320, 10)]
    assert Clockwork("timer").planned(stamps) == [1000, 1130, 1190, 1290]


def test_timer_begins_anew_after_a_pause():
    assert Clockwork("timer").planned([1000, *range(5000, 5300, 10)]) == [
        1000,
        5000,
        5090,
        5190,
        5290,
    ]


def test_observation_is_due_once_all_streams_share_a_stamp():
    work = Clockwork("observation")
    work.joints(1000)
    assert work.times.time_ns(1000 * MS) is None
    work.goal(1000)
    assert work.times.time_ns(990 * MS) == 1000 * MS  # the clock may be slower than the messages
    assert work.times.observed(1000 * MS)
    assert work.times.time_ns(1000 * MS) is None
    assert not work.times.observed(1000 * MS)


@pytest.mark.parametrize("trigger", ["timer", "observation"])
def test_everything_is_new_after_the_clock_has_jumped_back(trigger):
    work = Clockwork(trigger)
    for ms in (5000, 1000):
        work.observer.streams.clear()
        work.times.clear()
        work.joints(ms)
        work.goal(ms)
        assert work.times.time_ns(ms * MS) == ms * MS
        assert work.times.observed(ms * MS)


def test_the_joint_states_wanted_next_are_those_of_the_due_time_a_little_early():
    clockwork = Clockwork("timer")
    assert clockwork.planned([1000]) == [1000]
    assert clockwork.times.wanted_ns() == 1090 * MS
    assert clockwork.planned([1089, 1090]) == [1090]


def test_by_observation_no_time_is_wanted():
    assert Clockwork("observation").times.wanted_ns() == 0
