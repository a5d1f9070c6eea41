# SPDX-License-Identifier: MIT
"""Every injected fault does what its name says, at its time, and the same again with its seed."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import math
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState, PointCloud2, PointField

from difftori_models.contract.specs import Plan, PlanStatus
from difftori_ros import codecs
from difftori_ros.codecs import image as image_codec
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.codecs.fields import CodecError
from difftori_ros.types import Cloud, Pose
from difftori_ros.types import JointState as Joints
from difftori_sim.ros.fault_injection import FaultError, FaultInjector, StreamFault, parse
from difftori_sim.ros.fault_kinds import KINDS
from tests.support.injected_faults import SIGNALS, FaultyPlanner, send_signal

STREAMS = {
    "joint_states": JointState,
    "goal": PoseStamped,
    "points": PointCloud2,
    "camera/image_raw": Image,
    "clock": Clock,
}
SECOND = 1_000_000_000
NAMES = ("a", "b", "c")


def joints(stamp_ns=SECOND):
    message = JointState()
    state = Joints(stamp_ns, NAMES, np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0]))
    codecs.encode_joint_state(state, message)
    return message


def pose(stamp_ns=SECOND):
    message = PoseStamped()
    place = np.array([0.4, 0.0, 0.1, 0.0, 0.0, 0.0, 1.0])
    codecs.encode_pose(Pose(stamp_ns, "base", place), message)
    return message


def cloud(stamp_ns=SECOND, count=20):
    message = PointCloud2()
    xyz = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    rgb = np.full((count, 3), 0.5, np.float32)
    point_cloud_codec.encode_cloud(Cloud(stamp_ns, "camera", xyz, rgb), message, PointField)
    return message


def image(stamp_ns=SECOND):
    message = Image()
    pixels = np.zeros((4, 6, 3), np.uint8)
    image_codec.encode_image(pixels, message, stamp_ns, "camera")
    return message


def clock(stamp_ns=SECOND):
    message = Clock()
    codecs.ns_to_stamp(stamp_ns, message.clock)
    return message


MAKE = {
    "joint_states": joints,
    "goal": pose,
    "points": cloud,
    "camera/image_raw": image,
    "clock": clock,
}
DECODE = {
    "joint_states": codecs.decode_joint_state,
    "goal": codecs.decode_pose,
    "points": point_cloud_codec.decode_cloud,
    "camera/image_raw": image_codec.decode_image,
    "clock": lambda message: codecs.stamp_to_ns(message.clock),
}


def struck(text, count=1, seed=0):
    """The messages that come of `count` ones, 10 ms apart, and of the time until one second."""
    fault = parse(text, STREAMS)
    line = FaultInjector([fault], seed)
    stream = fault.stream
    sent = []
    for k in range(count):
        sent += line.apply(stream, MAKE[stream](SECOND + k * 10_000_000), k * 0.01)
    sent += line.due(1.0)
    assert all(name == stream for name, _ in sent)
    return [message for _, message in sent]


def stamps(messages):
    return [codecs.stamp_to_ns(message.header.stamp) for message in messages]


def test_without_faults_the_very_message_goes_through():
    message = joints()
    assert FaultInjector().apply("joint_states", message, 0.0) == [("joint_states", message)]


def test_a_fault_begins_and_ends_at_its_time_and_spares_other_streams():
    line = FaultInjector([parse("points:silence:0.5:0.25", STREAMS)])
    heard = [t for t in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0) if line.apply("points", cloud(), t)]
    assert heard == [0.0, 0.49, 0.75, 1.0]
    assert line.apply("goal", pose(), 0.6)


def test_frozen_messages_keep_their_stamp_and_stuck_ones_get_new_stamps():
    frozen, stuck = struck("joint_states:freeze:0:1", 3), struck("joint_states:stuck:0:1", 3)
    assert stamps(frozen) == [SECOND] * 3
    assert stamps(stuck) == [SECOND, SECOND + 10_000_000, SECOND + 20_000_000]
    assert stuck[2].position == stuck[0].position


def test_a_thaw_lets_the_newest_message_through():
    line = FaultInjector([parse("goal:freeze:0:0.05", STREAMS)])
    assert stamps([m for _, m in line.apply("goal", pose(SECOND), 0.0)]) == [SECOND]
    assert stamps([m for _, m in line.apply("goal", pose(2 * SECOND), 0.04)]) == [SECOND]
    assert stamps([m for _, m in line.apply("goal", pose(3 * SECOND), 0.05)]) == [3 * SECOND]


def test_delayed_messages_come_later_in_their_order():
    line = FaultInjector([parse("goal:delay:0:1:0.3", STREAMS)])
    for k in range(3):
        assert line.apply("goal", pose(SECOND + k), k * 0.1) == []
    assert stamps([m for _, m in line.due(0.45)]) == [SECOND, SECOND + 1]
    assert stamps([m for _, m in line.apply("goal", pose(SECOND + 9), 1.0)]) == [
        SECOND + 2,
        SECOND + 9,
    ]


def test_reordered_messages_all_come_and_not_in_order():
    came = stamps(struck("joint_states:reorder:0:1:0.1", 20))
    assert came != sorted(came)
    assert sorted(came) == [SECOND + k * 10_000_000 for k in range(20)]


def test_duplicates_are_as_many_as_asked_for():
    assert stamps(struck("goal:duplicate:0:1:3")) == [SECOND] * 4


def test_the_share_that_is_lost_is_the_one_asked_for():
    assert 60 < len(struck("goal:drop:0:100:0.3", 100)) < 80
    assert struck("goal:drop:0:1:1.0", 5) == []


def test_a_burst_comes_at_once_at_the_end_with_the_newest_last():
    line = FaultInjector([parse("joint_states:burst:0:0.1:50", STREAMS)])
    for k in range(10):
        assert line.apply("joint_states", joints(SECOND + k * 10_000_000), k * 0.01) == []
    came = stamps([message for _, message in line.due(0.1)])
    assert len(came) == len(set(came)) == 500
    assert came == sorted(came)
    assert came[-1] == SECOND + 90_000_000


@pytest.mark.parametrize("stream", MAKE)
def test_stamps_are_shifted_and_removed(stream):
    def stamp(message):
        return codecs.stamp_to_ns(getattr(message, "clock", None) or message.header.stamp)

    assert [stamp(m) for m in struck(f"{stream}:stamp:0:1:2.5")] == [3_500_000_000]
    assert [stamp(m) for m in struck(f"{stream}:unstamped:0:1")] == [0]
    # further back than time goes
    assert [stamp(m) for m in struck(f"{stream}:stamp:0:1:-10")] == [0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("joint_states:nan:0:1", "finite"),
        ("joint_states:inf:0:1:0.1", "finite"),
        ("joint_states:truncate:0:1", "'velocity'"),
        ("joint_states:twice:0:1", "each joint once, got twice: b"),
        ("goal:nan:0:1", "finite"),
        ("points:truncate:0:1", "bytes of data"),
        ("points:fields:0:1", "got INT16"),
        ("points:huge:0:1", "wanted a step of at least"),
        ("camera/image_raw:encoding:0:1", "got 'yuv422_yuy2'"),
        ("camera/image_raw:truncate:0:1:0.1", "bytes of data"),
        ("camera/image_raw:huge:0:1", "wanted"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_its_decoder(text, complaint):
    (message,) = struck(text)
    with pytest.raises(CodecError, match=complaint):
        DECODE[text.split(":")[0]](message)


def test_permuted_and_added_joints_say_the_same_as_before():
    before = codecs.decode_joint_state(joints())
    for text in ("joint_states:permute:0:1", "joint_states:extra:0:1:7.0"):
        after = codecs.decode_joint_state(struck(text, seed=3)[0])
        assert after.names != before.names
        for k, name in enumerate(NAMES):
            assert after.position[after.names.index(name)] == before.position[k]
            assert after.velocity[after.names.index(name)] == before.velocity[k]


def test_the_missing_joint_is_the_one_asked_for():
    assert codecs.decode_joint_state(struck("joint_states:missing:0:1:1")[0]).names == ("a", "c")


def test_points_become_invalid_by_the_share_asked_for_and_the_cloud_lies_about_it():
    for kind in ("nan", "inf"):
        (message,) = struck(f"points:{kind}:0:1:0.25")
        assert message.is_dense
        assert len(point_cloud_codec.decode_cloud(message).xyz) == 15
    assert len(point_cloud_codec.decode_cloud(struck("points:nan:0:1")[0]).xyz) == 0
    assert len(point_cloud_codec.decode_cloud(struck("points:empty:0:1")[0]).xyz) == 0


def test_the_frame_becomes_one_that_nobody_knows():
    assert codecs.decode_pose(struck("goal:frame:0:1")[0]).frame_id == "nowhere"


CASES = [
    (stream, kind)
    for stream, kind_type in STREAMS.items()
    for kind, made in KINDS.items()
    if not made.needs or any(hasattr(kind_type, name) for name in made.needs)
]


@pytest.mark.parametrize(("stream", "kind"), CASES)
def test_no_fault_changes_what_it_was_given_and_its_seed_decides_all(stream, kind):
    text = f"{stream}:{kind}:0:0.1"
    given = MAKE[stream]()
    FaultInjector([parse(text, STREAMS)]).apply(stream, given, 0.0)
    assert given == MAKE[stream]()
    # as text: NaN is not equal to itself
    assert str(struck(text, 5, seed=1)) == str(struck(text, 5, seed=1))


def test_faults_of_one_stream_add_up():
    faults = [parse("goal:duplicate:0:1", STREAMS), parse("goal:stamp:0:1:1.0", STREAMS)]
    sent = FaultInjector(faults).apply("goal", pose(), 0.0)
    assert stamps([message for _, message in sent]) == [2 * SECOND] * 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("points:silence:2.0", "wanted stream:kind:start_s:duration_s"),
        ("pionts:silence:0:1", "no stream 'pionts'; there are camera/image_raw, clock, goal"),
        ("points:silense:0:1", "unknown fault 'silense'; there are silence, freeze"),
        ("points:silence:now:1", "wanted numbers, got now 1"),
        ("points:silence:nan:1", "wanted a start and a duration above 0"),
        ("points:silence:0:0", "wanted a start and a duration above 0"),
        ("goal:permute:0:1", "a PoseStamped cannot have 'permute'; it can have silence"),
        ("clock:nan:0:1", "a Clock cannot have 'nan'"),
    ],
)
def test_a_fault_that_does_not_exist_is_answered_with_those_that_do(text, complaint):
    with pytest.raises(FaultError, match=complaint) as caught:
        parse(text, STREAMS)
    assert text in str(caught.value)


def test_an_amount_that_is_not_given_is_the_usual_one():
    assert parse("points:delay:0:1", STREAMS).amount == KINDS["delay"].amount
    assert StreamFault("points", "stamp").duration_s == math.inf


# processes


@pytest.mark.parametrize("kind", ["kill", "interrupt", "terminate"])
def test_a_process_is_struck_by_name(kind):
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(1, flush=True)\n"
    command = [sys.executable, "-c", code + "import threading; threading.Event().wait()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        send_signal({"victim": process}, "victim", kind)
        assert process.wait(10) == -SIGNALS[kind]


def test_a_stopped_process_goes_on_when_told_to():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        send_signal({"cat": process}, "cat", "stop")
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WSTOPSIG(status) == signal.SIGSTOP
        send_signal({"cat": process}, "cat", "continue")
        process.stdin.write(b"alive\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"alive\n"


def test_an_unknown_process_or_signal_is_answered_with_those_there_are():
    with pytest.raises(FaultError, match="no process 'guard'; there are policy"):
        send_signal({"policy": None}, "guard", "kill")  # type: ignore[dict-item]
    with pytest.raises(FaultError, match="unknown process fault 'kil'; there are kill"):
        send_signal({"policy": None}, "policy", "kil")  # type: ignore[dict-item]


# planners


class Healthy:
    """Plans one millimetre ahead."""

    card = SimpleNamespace(name="healthy")

    def plan(self, observation, deadline_s=None):
        return Plan(1, np.full((4, 4), 1e-3), 0.0, 1.0, 10, 0.001, PlanStatus.REFINED)


def plan_of(fault):
    return FaultyPlanner(Healthy(), lambda: fault).plan(None, deadline_s=0.05)


def test_a_planner_without_a_fault_plans_and_answers_as_before():
    planner = FaultyPlanner(Healthy(), lambda: "")
    assert planner.card.name == "healthy"
    assert planner.plan(None, None).status is PlanStatus.REFINED


def test_every_planner_fault_has_its_symptom():
    assert plan_of("diverge").status is PlanStatus.DIVERGED
    assert plan_of("nan").status is PlanStatus.FAILED
    assert np.isnan(plan_of("nan").actions).all()
    assert plan_of("slow").elapsed_s > 0.3
    with pytest.raises(RuntimeError, match="on purpose"):
        plan_of("raise")
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        plan_of("oom")


def test_an_unknown_planner_fault_is_answered_with_those_there_are():
    with pytest.raises(FaultError, match="unknown planner fault 'flu'; there are diverge, nan"):
        plan_of("flu")
