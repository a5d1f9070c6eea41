# SPDX-License-Identifier: MIT
"""A node's status is told whenever it is to be, `/diagnostics` rarely, and nobody's is built."""

import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor

from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.nodes.status_publisher import DIAGNOSTICS_S, StatusPublisher
from tests.conftest import next_domain


class Bench:
    """A publisher of statuses and whoever may listen."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(next_domain()))
        self.node = rclpy.create_node("teller", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.publisher = StatusPublisher(self.node, STATUS_QOS)
        self.statuses: list[DiagnosticStatus] = []
        self.arrays: list[DiagnosticArray] = []

    def listen(self, kind, topic, heard):
        self.node.create_subscription(kind, topic, heard.append, STATUS_QOS)
        self.until(lambda: self.node.count_subscribers(topic))
        for _ in range(20):  # the publisher is matched as well
            self.executor.spin_once(timeout_sec=0.01)

    def listen_to_both(self):
        self.listen(DiagnosticStatus, "teller/status", self.statuses)
        self.listen(DiagnosticArray, "/diagnostics", self.arrays)

    def until(self, done):
        end = time.monotonic() + 30.0
        while not done():
            self.executor.spin_once(timeout_sec=0.01)
            assert time.monotonic() < end

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.close()


def shown(message):
    return message.level, message.message, {pair.key: pair.value for pair in message.values}


def test_every_status_is_heard_as_it_was_told(bench):
    bench.listen(DiagnosticStatus, "teller/status", bench.statuses)
    told = [
        (0, "well", {"code": "OK", "a": "1"}),
        (0, "well", {"code": "OK", "a": "2"}),
        (2, "bad: very", {"code": "STALE", "b": "3"}),
        (0, "well", {"code": "OK", "a": "2", "b": "4"}),
    ]
    for level, text, values in told:
        bench.publisher.publish(level, text, values, 1.0)
    bench.until(lambda: len(bench.statuses) == len(told))
    assert [shown(m) for m in bench.statuses] == [
        (bytes([level]), text, values) for level, text, values in told
    ]
    assert {m.name for m in bench.statuses} == {"teller"}


def test_diagnostics_are_told_when_code_or_level_change_and_when_it_is_time(bench):
    bench.listen_to_both()
    for level, code, steady_s in (
        (0, "OK", 1.0),
        (0, "OK", 1.1),
        (1, "OK", 1.2),
        (1, "STALE", 1.3),
        (1, "STALE", 1.2 + DIAGNOSTICS_S),
        (1, "STALE", 1.31 + DIAGNOSTICS_S),
    ):
        bench.publisher.publish(level, f"at {steady_s:.2f}", {"code": code}, steady_s)
    bench.until(lambda: len(bench.statuses) == 6)
    bench.until(lambda: len(bench.arrays) == 4)
    told = [array.status[0].message for array in bench.arrays]
    assert told == ["at 1.00", "at 1.20", "at 1.30", f"at {1.31 + DIAGNOSTICS_S:.2f}"]
    assert all(array.header.stamp.sec > 0 for array in bench.arrays)


def test_nothing_is_built_for_nobody(bench, monkeypatch):
    built = []
    monkeypatch.setattr(bench.publisher, "_write", lambda *_: built.append(1))
    bench.publisher.publish(0, "well", {"code": "OK"}, 1.0)
    assert not built
    bench.listen_to_both()
    bench.publisher.publish(0, "well", {"code": "OK"}, 1.1)
    assert built


def test_silence_counts_from_what_was_told_last_heard_or_not(bench):
    assert bench.publisher.silent_s(5.0) > 1e9
    bench.publisher.publish(0, "well", {"code": "OK"}, 5.0)
    assert bench.publisher.silent_s(5.25) == 0.25
