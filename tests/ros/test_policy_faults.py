# SPDX-License-Identifier: MIT
"""Whatever becomes of the planner, the node lives, names it, and sends nothing it should not."""

import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float32MultiArray
from std_srvs.srv import Trigger

from difftori_ros import codecs
from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.config.paths import config_dir
from difftori_ros.nodes.node_base import STATUS_QOS
from tests.support.fake_robot import FakeRobot
from tests.support.injected_faults import FAULT_VARIABLE, write_mode

pytestmark = pytest.mark.real_time


class FaultyPolicy:
    """A policy process with a planner that the test controls."""

    def __init__(self, graph, folder, **parameters):
        self.graph, self._file = graph, folder / "planner_fault"
        self.inject("")
        graph.environment[FAULT_VARIABLE] = str(self._file)
        _, policy = policy_specs(
            "pick_cube_state",
            "panda",
            config_file=config_dir() / "sim.yaml",
            parameters={"planner_timeout_s": 0.5} | parameters,
        )
        graph.start(replace(policy, module="tests.support.faulty_policy_node"))
        self.robot = FakeRobot(graph.node)
        self.plans()

    def inject(self, mode):
        write_mode(self._file, mode)

    def plans(self):
        """Another plan has come."""
        heard = len(self.graph.plans)
        self.graph.until(lambda: len(self.graph.plans) > heard, each=self.robot.publish)

    def code(self, code):
        """The status has said so since now."""
        heard = self.graph.status["policy_node"]
        first = len(heard)

        def said():
            values = [{v.key: v.value for v in message.values} for message in heard[first:]]
            return any(one["code"] == code for one in values)

        self.graph.until(said, each=self.robot.publish)

    def silence(self):
        """Five heartbeats go by without a plan."""
        heard, beats = len(self.graph.plans), len(self.graph.status["policy_node"])
        status = self.graph.status["policy_node"]
        self.graph.until(lambda: len(status) > beats + 5, each=self.robot.publish)
        assert len(self.graph.plans) == heard

    def call(self, kind, name, request):
        return self.graph.ask(kind, f"policy_node/{name}", request, self.robot.publish)

    def reset(self):
        return self.call(Trigger, "reset", Trigger.Request()).message


def test_planner_that_hangs_is_given_up_and_another_one_goes_on(graph, tmp_path):
    faulty = FaultyPolicy(graph, tmp_path)
    faulty.inject("hang")
    faulty.code("DEADLINE")
    assert "DEADLINE: a plan has taken" in graph.log("policy_node")
    faulty.inject("")
    faulty.plans()
    assert int(graph.newest("policy_node")["planners_given_up"]) >= 1


@pytest.mark.parametrize(
    ("mode", "code"), [("diverge", "DIVERGED"), ("oom", "DEVICE_LOST"), ("callback", "EXCEPTION")]
)
def test_fault_is_latched_and_only_a_reset_brings_plans_back(graph, tmp_path, mode, code):
    faulty = FaultyPolicy(graph, tmp_path)
    faulty.inject(mode)
    faulty.code(code)
    word = "no such field" if mode == "callback" else f"{code}: "
    graph.until(lambda: word in graph.log("policy_node"), each=faulty.robot.publish)
    graph.until(
        lambda: "in a row" in graph.newest("policy_node")["message"] or code != "DIVERGED",
        each=faulty.robot.publish,
    )
    faulty.inject("")
    faulty.silence()
    assert graph.newest("policy_node")["code"] == code
    state = faulty.call(GetState, "get_state", GetState.Request()).current_state.label
    assert state == "active"
    faulty.reset()
    faulty.plans()


def test_deactivation_and_termination_do_not_wait_for_a_hung_planner(graph, tmp_path):
    faulty = FaultyPolicy(graph, tmp_path, planner_timeout_s=600.0)
    faulty.inject("hang")
    heard = len(graph.plans)
    faulty.silence()
    transition = Transition(id=Transition.TRANSITION_DEACTIVATE)
    began = time.monotonic()
    request = ChangeState.Request(transition=transition)
    assert faulty.call(ChangeState, "change_state", request).success
    assert time.monotonic() - began < 5.0
    faulty.silence()
    assert len(graph.plans) == heard
    process = graph.processes["policy_node"]
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert graph.exit_status("policy_node", 20.0) == 0
    assert time.monotonic() - began < 3.0
    assert "Traceback" not in graph.log("policy_node")


def start(graph, checkpoint="pick_cube_state", **parameters):
    _, policy = policy_specs(
        checkpoint, "panda", config_file=config_dir() / "sim.yaml", parameters=parameters
    )
    graph.start(policy)
    return FakeRobot(graph.node)


def test_stream_that_arrives_with_stamps_far_off_is_named_with_its_rate_and_offset(graph):
    robot = start(graph)
    told = ("message", "offset_goal")
    graph.until(
        lambda: all("s behind" in graph.newest("policy_node").get(key, "") for key in told),
        each=lambda: robot.publish(age_s=10.0),
    )
    newest = graph.newest("policy_node")
    assert newest["code"] == "STALE"
    assert "'joint_states' arrives at " in newest["message"]
    assert "its stamps are 10.0 s behind this clock" in newest["message"]
    assert "10.0 s behind" in newest["offset_goal"]
    assert graph.plans == []


def test_cloud_that_repeats_itself_is_reported_and_when_wanted_not_used(graph):
    robot = start(graph, "pick_cube_points", frozen_frames=5, frozen_is_fault=True)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)

    def same_again():
        robot._rng = np.random.default_rng(7)
        robot.publish()

    graph.until(lambda: graph.newest("policy_node")["code"] == "FROZEN", each=same_again)
    assert "identical frames" in graph.newest("policy_node")["message"]
    heard = len(graph.plans)
    graph.until(lambda: len(graph.plans) > heard, each=robot.publish)


def test_encoded_observation_is_published_with_its_stamp_for_whoever_listens(graph):
    robot, latents = start(graph), []
    graph.node.create_subscription(
        Float32MultiArray, "policy_node/latent", latents.append, STATUS_QOS
    )
    graph.until(lambda: len(latents) >= 2 and len(graph.plans) >= 2, each=robot.publish)
    stamps = {str(p.header.stamp.sec * 10**9 + p.header.stamp.nanosec) for p in graph.plans}
    assert latents[0].layout.dim[0].label in stamps
    assert len(latents[0].data) == latents[0].layout.dim[0].size > 0
    assert np.isfinite(latents[0].data).all()


def test_status_carries_rates_ages_skew_plan_times_and_counts(graph):
    robot = start(graph)
    graph.until(lambda: len(graph.plans) >= 3, each=robot.publish)
    values = graph.newest("policy_node")
    wanted = {"plan_ms_p50", "plan_ms_p99", "plan_hz", "iterations", "deadline_misses", "skew_s"}
    wanted |= {"joint_states_hz", "age_joint_states", "sha256", "realtime", "plans"}
    assert wanted <= set(values)
    assert len(values["sha256"]) == 12


def test_clock_that_goes_back_is_named_and_planning_resumes_with_what_comes_then(graph):
    publisher = graph.node.create_publisher(Clock, "/clock", 10)
    graph.node.set_parameters([Parameter("use_sim_time", value=True)])
    robot = start(graph, use_sim_time=True)
    time_ns = [1_000_000_000_000]

    def tick():
        time_ns[0] += 50_000_000
        message = Clock()
        codecs.ns_to_stamp(time_ns[0], message.clock)
        publisher.publish(message)
        if abs(graph.node.get_clock().now().nanoseconds - time_ns[0]) < 200_000_000:
            robot.publish()

    graph.until(lambda: len(graph.plans) >= 2, each=tick)
    time_ns[0] -= 600_000_000_000
    heard, first = graph.status["policy_node"], len(graph.status["policy_node"])

    def named():
        return [m.message for m in heard[first:] if "the clock has jumped" in m.message]

    graph.until(named, each=tick)
    assert "by -" in named()[0]
    for _ in range(6):
        robot.publish(age_s=-600.0)  # still under way when the clock went back
    plans = len(graph.plans)
    graph.until(lambda: len(graph.plans) > plans + 1, each=tick)
    assert int(graph.newest("policy_node")["clock_jumps"]) >= 1
