# SPDX-License-Identifier: MIT
"""What comes waits until it is taken, wakes nobody, and is decoded only where it is needed."""

import struct
import time

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState

from difftori_ros.nodes.polled_subscription import JointNames, PolledSubscription, stamp_ns
from tests.conftest import next_domain

DEPTH = 8
QOS = QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE)


def joints(sec, *names, frame="base", nanosec=7):
    message = JointState(name=list(names), position=[float(sec)] * len(names))
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = frame
    return message


def executors():
    from rclpy.experimental.events_executor import EventsExecutor

    return [SingleThreadedExecutor, EventsExecutor]


class Pair:
    """Somebody who publishes, and a polled subscription on a node that is spun."""

    def __init__(self, make):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(next_domain()))
        self.node = rclpy.create_node("pair", context=self.context)
        self.executor = make(context=self.context)
        self.executor.add_node(self.node)
        self.publisher = self.node.create_publisher(JointState, "joint_states", QOS)
        self.polled = PolledSubscription(self.node, JointState, "joint_states", QOS)
        end = time.monotonic() + 30.0
        while not self.publisher.get_subscription_count():
            self.executor.spin_once(timeout_sec=0.01)
            assert time.monotonic() < end

    def taken(self, count):
        """The next so many messages."""
        end, found = time.monotonic() + 30.0, []
        while len(found) < count:
            found += self.polled.take()
            assert time.monotonic() < end, len(found)
        return [deserialize_message(raw, JointState) for raw in found]

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture(params=executors(), ids=lambda make: make.__name__)
def pair(request):
    made = Pair(request.param)
    yield made
    made.close()


def test_messages_are_taken_once_oldest_first(pair):
    sent = [joints(k, "a", "b") for k in range(1, 6)]
    for message in sent:
        pair.publisher.publish(message)
    assert pair.taken(5) == sent
    assert pair.polled.take() == []


def test_messages_tell_when_they_came_however_late_they_are_taken(pair):
    before_ns = time.time_ns()
    pair.publisher.publish(joints(1, "a"))
    for _ in range(20):
        pair.executor.spin_once(timeout_sec=0.01)
    [(_, arrived_ns)] = pair.polled.take_timed()
    assert 0 <= arrived_ns - before_ns < 100_000_000
    assert pair.polled.topic_name == "/joint_states"


def test_of_more_messages_than_the_queue_holds_the_newest_stay(pair):
    for k in range(1, 3 * DEPTH + 1):
        pair.publisher.publish(joints(k, "a"))
    last = pair.taken(DEPTH)[-1]
    assert last.header.stamp.sec == 3 * DEPTH
    assert pair.polled.take() == []


def test_an_executor_neither_takes_them_nor_wakes_up(pair):
    for _ in range(50):  # what discovery had to say
        pair.executor.spin_once(timeout_sec=0.01)
    pair.publisher.publish(joints(1, "a"))
    begin = time.monotonic()
    pair.executor.spin_once(timeout_sec=0.2)
    assert time.monotonic() - begin > 0.15
    assert len(pair.taken(1)) == 1


def test_a_destroyed_one_is_gone_from_the_graph(pair):
    pair.polled.destroy()
    end = time.monotonic() + 30.0
    while pair.node.count_subscribers("joint_states"):
        pair.executor.spin_once(timeout_sec=0.01)
        assert time.monotonic() < end
    pair.publisher.publish(joints(1, "a"))
    pair.executor.spin_once(timeout_sec=0.05)


def test_the_stamp_is_read_without_decoding():
    assert stamp_ns(serialize_message(joints(12, "a", nanosec=34))) == 12_000_000_034
    assert stamp_ns(serialize_message(joints(-1, "a", nanosec=5))) == -999_999_995


def test_the_stamp_is_read_in_either_byte_order():
    assert stamp_ns(b"\x00\x00\x00\x00" + struct.pack(">iI", 3, 4)) == 3_000_000_004


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\x01\x00", b"\x00\x01\x00\x00\x01\x00\x00\x00", b"?" * 64]
)
def test_what_has_no_stamp_has_none(raw):
    assert stamp_ns(raw) is None


@pytest.mark.parametrize("frame", ["", "b", "base", "base_link"])
@pytest.mark.parametrize("names", [(), ("a",), ("panda_joint1", "x", "yy", "zzz", "é")])
def test_names_are_read_without_decoding(names, frame):
    known = JointNames()
    for sec in (1, 2):  # walked along, and known again
        raw = serialize_message(joints(sec, *names, frame=frame))
        assert known.of(raw) == tuple(name.encode() for name in names)


def test_names_are_read_in_either_byte_order():
    raw = b"\x00\x00\x00\x00" + struct.pack(">iII2s2xII2s", 3, 4, 2, b"b\0", 1, 2, b"j\0")
    known = JointNames()
    assert known.of(raw) == known.of(raw) == (b"j",)


def test_bytes_that_only_align_others_may_be_anything():
    raw = serialize_message(joints(1, "a", "b"))
    at = raw.index(b"a\0") + 2
    known = JointNames()
    assert known.of(raw) == known.of(raw[:at] + b"??" + raw[at + 2 :]) == (b"a", b"b")


def test_a_message_that_is_cut_off_has_no_names():
    raw = serialize_message(joints(1, "panda_joint1", "panda_joint2"))
    end = raw.index(b"panda_joint2") + len("panda_joint2") + 1
    known = JointNames()
    for size in range(end):
        assert known.of(raw[:size]) is None
    assert known.of(raw) is not None
    for size in range(end):
        assert known.of(raw[:size]) is None


def test_a_source_whose_names_never_repeat_fills_no_memory():
    known = JointNames()
    for k in range(100):
        assert known.of(serialize_message(joints(1, f"joint{k}"))) == (f"joint{k}".encode(),)
    assert len(known._layouts) < 20


def test_of_several_sources_the_newest_message_of_each_is_left():
    known = JointNames()
    arm = [serialize_message(joints(k, "a", "b")) for k in (1, 3, 2)]
    hand = [serialize_message(joints(k, "f")) for k in (4, 5)]
    broken = b"\x00\x01"
    found = known.newest_of_each([arm[0], hand[0], arm[1], broken, hand[1], arm[2]])
    assert sorted(found) == sorted([arm[1], hand[1], broken])
