# SPDX-License-Identifier: MIT
"""Nodes are spun by events: signals end them at once, and nothing that rclpy offers is lost."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
import rclpy
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMessage
from std_msgs.msg import String
from std_srvs.srv import Trigger

from difftori_ros.nodes import spin
from tests.conftest import ROOT, next_domain

AT_ONCE_S = 0.1
NODE = """
import os, sys, threading, time
from rclpy.node import Node
from difftori_ros.nodes.node_base import run
from std_msgs.msg import String

class Waiting(Node):
    idle_s = 20.0

    def __init__(self):
        super().__init__("waiting")
        self.step = self.ready

    def ready(self):
        pass

    def stop(self):
        print("stopped", time.monotonic(), flush=True)

tell = threading.Timer(1.0, print, ["waits"], {"flush": True})  # by then it does
tell.daemon = True
tell.start()
sys.exit(run(Waiting))
"""
CRASHING = """
import sys
from rclpy.node import Node
from difftori_ros.nodes.node_base import run

class Crashing(Node):
    finished = None

    def __init__(self):
        super().__init__("crashing")
        self.create_timer(0.01, self.crash)

    def crash(self):
        raise ValueError("on purpose")

    def stop(self):
        pass

    def on_exception(self, error):
        print(repr(error), flush=True)
        self.finished = 3

sys.exit(run(Crashing))
"""


def process(code, ros_env):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=ros_env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_waits_is_stopped_at_once_by_a_signal(number, ros_env):
    node = process(NODE, ros_env)
    assert node.stdout is not None
    assert node.stdout.readline() == "waits\n"
    sent_s = time.monotonic()
    node.send_signal(number)
    said = node.stdout.readline().split()
    assert said[0] == "stopped"
    assert float(said[1]) - sent_s < AT_ONCE_S
    node.communicate(timeout=30.0)
    assert node.returncode == 0


def test_what_a_callback_raises_reaches_the_node(ros_env):
    node = process(CRASHING, ros_env)
    out, errors = node.communicate(timeout=60.0)
    assert "ValueError('on purpose')" in out
    assert node.returncode == 3, errors


def test_a_signal_is_noted_and_ends_the_wait():
    woken = threading.Event()
    before = {number: signal.getsignal(number) for number in spin.ENDING}
    signals = spin.Signals(woken.set)
    try:
        assert not signals.come()
        os.kill(os.getpid(), signal.SIGHUP)
        assert woken.wait(10.0)
        assert signals.come()
    finally:
        signals.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_that_ends_nothing_is_left_to_others():
    woken, handled = threading.Event(), threading.Event()
    before = {number: signal.getsignal(number) for number in spin.ENDING}
    signals = spin.Signals(woken.set)
    other = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert handled.wait(10.0)
        os.kill(os.getpid(), signal.SIGTERM)  # the bytes come in order
        assert woken.wait(10.0)
    finally:
        signals.close()
        signal.signal(signal.SIGUSR1, other)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_without_an_events_executor_the_ordinary_one_is_taken_and_the_log_says_so(monkeypatch):
    assert not spin.lacks_executor()
    monkeypatch.setattr(spin, "EventsExecutor", None)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(next_domain()))
    executor = spin.make_executor(context)
    assert isinstance(executor, SingleThreadedExecutor)
    assert "SingleThreadedExecutor" in spin.lacks_executor()
    executor.shutdown()
    context.try_shutdown()


def test_what_is_left_alone_is_freed_by_the_first_collection_that_looks_at_it_again():
    class Loop:
        pass

    loop = Loop()
    loop.itself = loop
    alive = weakref.ref(loop)
    spin.leave_memory_alone()
    try:
        del loop
        gc.collect()
        assert alive() is not None
    finally:
        spin.look_at_memory_again()
    gc.collect()
    assert alive() is None


class Bench:
    """A node on our executor, spun as `run` does."""

    def __init__(self, **parameters):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(next_domain()))
        given = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = rclpy.create_node("bench", context=self.context, parameter_overrides=given)
        self.executor = spin.make_executor(self.context)
        self.executor.add_node(self.node)

    def until(self, done, limit_s=30.0, each=None):
        end = time.monotonic() + limit_s
        while not done():
            self.executor.spin_once(timeout_sec=0.01)
            if each is not None:
                each()
            assert time.monotonic() < end

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@contextlib.contextmanager
def bench(**parameters):
    made = Bench(**parameters)
    yield made
    made.close()


def test_a_steady_timer_keeps_its_period():
    ticks = []
    with bench() as made:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        made.node.create_timer(0.01, lambda: ticks.append(steady.now().nanoseconds), clock=steady)
        made.until(lambda: len(ticks) >= 50)
    assert (ticks[-1] - ticks[0]) * 1e-9 == pytest.approx(0.49, abs=0.05)


def test_timers_follow_simulated_time_and_a_jump_back_is_told():
    ticks, jumps = [], []
    with bench(use_sim_time=True) as made:
        made.node.create_timer(1.0, lambda: ticks.append(1))
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        kept = made.node.get_clock().create_jump_callback(threshold, post_callback=jumps.append)
        clock = made.node.create_publisher(ClockMessage, "/clock", 10)
        made.until(clock.get_subscription_count)
        now = ClockMessage()
        now.clock.sec = 100

        def tell():
            clock.publish(now)

        def shows():
            return made.node.get_clock().now().nanoseconds == now.clock.sec * 10**9

        made.until(lambda: shows() and ticks, each=tell)  # the clock went from 0 to 100 s
        for k in range(2, 5):
            for _ in range(20):  # simulated time stands still, and so does the timer
                made.executor.spin_once(timeout_sec=0.01)
            assert len(ticks) == k - 1
            now.clock.sec += 1
            made.until(shows, each=tell)
            made.until(lambda k=k: len(ticks) == k)
        assert not [jump for jump in jumps if jump.delta.nanoseconds < 0]
        now.clock.sec = 50
        made.until(shows, each=tell)
        assert jumps[-1].delta.nanoseconds < 0
        kept.unregister()


def test_what_is_made_or_destroyed_in_a_callback_counts_from_then_on():
    heard = []
    with bench() as made:
        node = made.node
        first = node.create_subscription(String, "first", lambda _: swap(), 10)

        def swap():
            node.destroy_subscription(first)
            node.create_subscription(String, "second", lambda m: heard.append(m.data), 10)

        one, two = (node.create_publisher(String, name, 10) for name in ("first", "second"))
        made.until(one.get_subscription_count)
        one.publish(String(data="go"))
        made.until(two.get_subscription_count)
        two.publish(String(data="there"))
        made.until(lambda: heard == ["there"])
        assert one.get_subscription_count() == 0


def test_a_service_is_answered_while_it_ends_another():
    with bench() as made:
        node = made.node
        other = node.create_service(Trigger, "other", lambda _, response: response)

        def answer(_, response):
            node.destroy_service(other)
            response.success, response.message = True, "done"
            return response

        node.create_service(Trigger, "ask", answer)
        client, gone = (node.create_client(Trigger, name) for name in ("ask", "other"))
        made.until(lambda: client.service_is_ready() and gone.service_is_ready())
        asked = client.call_async(Trigger.Request())
        made.until(asked.done)
        assert asked.result().message == "done"
        made.until(lambda: not gone.service_is_ready())
