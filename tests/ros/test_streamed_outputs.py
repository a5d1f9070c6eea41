# SPDX-License-Identifier: MIT
"""A streamed controller is never told to be where the motion would be by now: after a late set the
motion is put off, and after a stall it is known where the controller was left."""

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Float64MultiArray

from difftori_ros.guard.motion_under_way import put_off
from difftori_ros.motion.trajectory import Reference, schedule
from difftori_ros.nodes.controller_outputs import make_output
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.robot.profile import load_profile

PANDA = load_profile("panda")
MS = 1_000_000
NOW = 5_000 * MS
PERIOD = 20 * MS


class Controller:
    """Listens to the sets of one output, which is fed by hand."""

    def __init__(self, kind: str, environment: dict[str, str]):
        self.streams_velocity = kind == "velocity"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(environment["ROS_DOMAIN_ID"]))
        self.node = rclpy.create_node("outputs", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.sets: list[np.ndarray] = []
        self.output = make_output(kind, self.node, PANDA.topic, STATUS_QOS, PERIOD * 1e-9)
        self.node.create_subscription(
            Float64MultiArray, self.output.topic, lambda m: self.sets.append(m.data), STATUS_QOS
        )
        while not self.output.listeners() or not self.node.count_publishers(self.output.topic):
            self._executor.spin_once(timeout_sec=0.05)

    def follow(self, trajectory):
        self.output.prepare(trajectory)()

    def tick(self, now_ns: int) -> tuple[int, np.ndarray]:
        """By how much the motion was put off, and the set that was received."""
        before = len(self.sets)
        late_ns = self.output.catch_up(now_ns)
        self.output.tick(now_ns)
        while len(self.sets) == before:
            self._executor.spin_once(timeout_sec=0.05)
        return late_ns, np.array(self.sets[-1])

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(params=["position", "velocity"])
def controller(request, ros_env):
    made = Controller(request.param, ros_env)
    yield made
    made.close()


@pytest.fixture
def motion():
    """A move of a second that is at speed after 0.3 s."""
    still = np.zeros(7)
    waypoints = PANDA.home + 0.05 * np.arange(1, 21)[:, None]
    made = schedule(PANDA, NOW, waypoints, 0.05, Reference(PANDA.home, still, still), NOW)
    assert made is not None
    return made


def stream_until(controller, motion, end_ns):
    """The motion is followed from its beginning, with all sets in time."""
    controller.follow(motion)
    return [controller.tick(at) for at in range(NOW, end_ns + 1, PERIOD)][-1]


def wanted(controller, motion, at_ns):
    position, velocity = motion.sample(at_ns)
    return velocity if controller.streams_velocity else position


def test_a_set_that_is_in_time_is_where_the_motion_is(controller, motion):
    controller.follow(motion)
    for at in range(0, 400 * MS, PERIOD):
        late_ns, got = controller.tick(NOW + at)
        assert late_ns == 0
        np.testing.assert_allclose(got, wanted(controller, motion, NOW + at))


def test_after_a_late_set_the_motion_goes_on_from_there(controller, motion):
    stream_until(controller, motion, NOW + 300 * MS)
    late_ns, got = controller.tick(NOW + 450 * MS)
    assert late_ns == 150 * MS - PERIOD
    expected = wanted(controller, motion, NOW + 300 * MS + PERIOD)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    late_ns, got = controller.tick(NOW + 450 * MS + PERIOD)
    assert late_ns == 0
    expected = wanted(controller, motion, NOW + 300 * MS + 2 * PERIOD)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_motion_whose_first_set_is_late_begins_at_its_beginning(controller, motion):
    controller.follow(motion)
    late_ns, got = controller.tick(NOW + 150 * MS)
    assert late_ns == 150 * MS - PERIOD
    np.testing.assert_allclose(got, wanted(controller, motion, NOW + PERIOD), atol=1e-6)


def test_a_brake_that_comes_with_a_late_set_is_put_off_no_further(controller, motion):
    stream_until(controller, motion, NOW + 300 * MS)
    late_ns = controller.output.catch_up(NOW + 450 * MS)
    controller.follow(put_off(motion, late_ns))
    again_ns, got = controller.tick(NOW + 450 * MS)
    assert again_ns == 0
    expected = wanted(controller, motion, NOW + 300 * MS + PERIOD)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_controller_that_was_left_alone_stands_at_the_last_set(controller, motion):
    _, got = stream_until(controller, motion, NOW + 300 * MS)
    before = len(controller.sets)
    stands = controller.output.stands()
    left_at = stands.velocity if controller.streams_velocity else stands.position
    np.testing.assert_array_equal(left_at, got)
    assert controller.streams_velocity == bool(np.abs(stands.velocity).max() > 0.1)
    assert controller.output.catch_up(NOW + 320 * MS) == 0
    controller.output.tick(NOW + 320 * MS)
    assert len(controller.sets) == before


def test_a_controller_that_was_left_alone_before_the_first_set_rests_where_it_was(
    controller, motion
):
    controller.follow(motion)
    stands = controller.output.stands()
    np.testing.assert_array_equal(stands.position, PANDA.home)
    np.testing.assert_array_equal(stands.velocity, np.zeros(7))


def test_a_controller_that_follows_nothing_stands_nowhere(controller, motion):
    assert controller.output.stands() is None
    controller.follow(motion)
    controller.tick(NOW + PERIOD)
    controller.output.tick(motion.end_ns)
    assert controller.output.stands() is None


def test_a_clock_that_was_set_puts_nothing_off(controller, motion):
    stream_until(controller, motion, NOW + 300 * MS)
    controller.output.shift(5000 * MS)
    late_ns, got = controller.tick(NOW + 5300 * MS + PERIOD)
    assert late_ns == 0
    np.testing.assert_allclose(got, wanted(controller, motion, NOW + 300 * MS + PERIOD))
