# SPDX-License-Identifier: MIT
"""The simulated robot speaks the topics of a real one, and its clock keeps its word."""

import subprocess
import time

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from sensor_msgs.msg import JointState as JointStateMessage
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros import bringup, codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import image as image_codec
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.config.paths import config_dir, share_dir
from difftori_ros.motion.trajectory import Reference, hold, schedule
from difftori_ros.nodes.node_base import COMMAND_QOS, LATCHED_QOS, STATUS_QOS
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Trajectory
from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.ros.service_retry import RetriedRequest
from tests.conftest import next_domain

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(300)]

PANDA = load_profile("panda")
PERIOD_NS = 100_000_000
TIMEOUT_S = 3.0
"""Silence after which the world goes on without a second command [s]."""
REPEAT_S = 0.25
"""The bridge sends an unanswered observation again after this [s]."""
SEED = TEST_SEEDS.start + 3
CAMERA = "camera_optical_frame"
TOPICS = {
    "/clock": (Clock, None),
    "joint_states": (JointStateMessage, ""),
    "goal": (PoseStamped, PANDA.base_frame),
    "object": (PoseStamped, PANDA.base_frame),
    "points": (PointCloud2, CAMERA),
    "camera/image_raw": (Image, CAMERA),
    "camera/camera_info": (CameraInfo, CAMERA),
}
"""What is published for every observation: type and frame."""


def stamp_of(message) -> int:
    return codecs.stamp_to_ns(getattr(message, "clock", None) or message.header.stamp)


class Stand:
    """The bridge in a process of its own, and everything it says."""

    def __init__(self, clock: str, folder, **parameters):
        domain = next_domain()
        values = {"start": False, "cloud": True} | parameters
        spec = bringup.bridge_spec("pick_cube_state", "panda", clock, values)
        self._log = folder / "sim_bridge.log"
        environment = {"ROS_DOMAIN_ID": domain, "ROS_LOG_DIR": str(folder)}
        with self._log.open("wb") as log:
            self.process = bringup.start(spec, environment, stdout=log, stderr=subprocess.STDOUT)
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(domain))
        self.node = rclpy.create_node("test", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.heard: dict[str, list] = {name: [] for name in TOPICS}
        for name, (kind, _) in TOPICS.items():
            self.node.create_subscription(kind, name, self.heard[name].append, STATUS_QOS)
        self.episodes: list[dict[str, str]] = []
        self.node.create_subscription(
            DiagnosticStatus,
            "sim_bridge/episode",
            lambda m: self.episodes.append({pair.key: pair.value for pair in m.values}),
            LATCHED_QOS,
        )
        self._out = {
            joints: self.node.create_publisher(JointTrajectory, topic, COMMAND_QOS)
            for joints, topic in (
                (PANDA.arm_joints, PANDA.topic),
                ((PANDA.gripper.joint,), PANDA.gripper.topic),
            )
        }

    def close(self) -> int:
        (code,) = bringup.stop([self.process])
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        return code

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def now_ns(self) -> int:
        clocks = self.heard["/clock"]
        return stamp_of(clocks[-1]) if clocks else 0

    def until(self, done, limit_s: float = 200.0) -> bool:
        end = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > end:
                return False
            assert self.process.poll() is None, self.log
            self._executor.spin_once(timeout_sec=0.02)
        return True

    def repeats(self, count: int) -> None:
        """Until joint states have come `count` times more."""
        wanted = len(self.heard["joint_states"]) + count
        assert self.until(lambda: len(self.heard["joint_states"]) >= wanted), self.log

    def call(self, kind, name: str, request):
        client = self.node.create_client(kind, f"sim_bridge/{name}")
        assert self.until(client.service_is_ready), self.log
        pending = RetriedRequest(client, request)
        assert self.until(pending.done), self.log
        self.node.destroy_client(client)
        return pending.result()

    def reset(self, seed: int, whole: bool = True) -> int:
        """Start the episode of `seed`; return its first stamp, once all of it was heard."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=seed)
        request = SetParameters.Request(parameters=[Parameter(name="seed", value=value)])
        assert self.call(SetParameters, "set_parameters", request).results[0].successful
        for _ in range(5):  # pictures are sent once: the first may come before we are connected
            answer = self.call(Trigger, "reset", Trigger.Request())
            assert answer.success
            assert str(seed) in answer.message
            assert self.until(lambda: self.episodes and self.episodes[-1]["state"] == "running")
            start_ns = int(self.episodes[-1]["start_ns"])
            if not whole or self.until(lambda at_ns=start_ns: self.complete(at_ns), 10.0):
                return start_ns
        raise AssertionError(f"the first observation never came whole\n{self.log}")

    def at(self, stamp_ns: int) -> dict:
        """The first message of every topic with that stamp."""
        first = {}
        for name, messages in self.heard.items():
            found = [message for message in messages if stamp_of(message) == stamp_ns]
            if found:
                first[name] = found[0]
        return first

    def complete(self, stamp_ns: int) -> bool:
        return len(self.at(stamp_ns)) == len(TOPICS)

    def send(self, trajectory: Trajectory, joints=None) -> None:
        message = JointTrajectory()
        codecs.encode_trajectory(trajectory, message, JointTrajectoryPoint)
        self._out[joints or trajectory.joint_names].publish(message)

    def send_hold(self, stamp_ns: int, channels=("arm", "gripper")) -> None:
        """Commands of that stamp that leave the arm at home and the gripper open."""
        if "arm" in channels:
            self.send(hold(PANDA.arm_joints, stamp_ns, PANDA.home, stamp_ns))
        if "gripper" in channels:
            opened = np.array([PANDA.gripper.open])
            self.send(hold((PANDA.gripper.joint,), stamp_ns, opened, stamp_ns))


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bridge")
    made = Stand("lockstep", folder, lockstep_timeout_s=TIMEOUT_S, max_time_s=0.5)
    yield made
    assert made.close() == 0, made.log


def test_every_documented_topic_is_published_with_one_stamp_and_the_right_frame(stand):
    start_ns = stand.reset(SEED)
    messages = stand.at(start_ns)
    assert set(messages) == set(TOPICS)
    for name, (_, frame) in TOPICS.items():
        if frame is not None:
            assert messages[name].header.frame_id == frame, name
    text = " ".join((share_dir() / "docs" / "reference" / "topics.md").read_text().split())
    paragraph = text.split("## sim_bridge")[1].split("and `/tf_static`")[0]
    documented = [part for part in paragraph.split("`")[1::2] if not part.startswith("~")]
    assert set(documented) == set(TOPICS)


def test_messages_of_an_observation_describe_one_scene(stand):
    messages = stand.at(stand.reset(SEED))
    state = codecs.decode_joint_state(messages["joint_states"])
    assert state.names == PANDA.joint_names
    np.testing.assert_allclose(state.position[:7], PANDA.home, atol=0.1)
    np.testing.assert_allclose(state.velocity, 0.0, atol=1e-6)
    cloud = point_cloud_codec.decode_cloud(messages["points"])
    image = image_codec.decode_image(messages["camera/image_raw"])
    matrix = camera_info_codec.decode_camera_info(messages["camera/camera_info"]).k
    info = messages["camera/camera_info"]
    assert image.shape == (info.height, info.width, 3)
    # every point of the cloud lies on a pixel of its own colour
    pixels = (matrix @ cloud.xyz.astype(np.float64).T).T
    columns, rows = np.floor(pixels[:, :2] / pixels[:, 2:] + 1e-3).astype(int).T
    np.testing.assert_array_equal(cloud.rgb, image[rows, columns])
    # and the cube's points are where its pose says it is
    cube = codecs.decode_pose(messages["object"]).pose[:3]
    xyz = cloud.xyz @ base_from_camera()[:3, :3].T + base_from_camera()[:3, 3]
    red = (cloud.rgb[:, 0] > 127) & (cloud.rgb[:, 1:].max(axis=1) < 77)
    near = np.abs(xyz - cube).max(axis=1) < 0.035
    assert (red & near).sum() > 10


def base_from_camera() -> np.ndarray:
    """Extrinsics as the policy node is given them."""
    text = (config_dir() / "sim.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["policy_node"]["ros__parameters"]
    return pose_to_matrix(np.array(values["camera_pose"]))


def test_clock_stands_still_without_a_command(stand):
    start_ns = stand.reset(SEED)
    # longer than the time after which a silent policy would be given up
    stand.repeats(int(TIMEOUT_S / REPEAT_S) + 3)
    assert stand.now_ns == start_ns


def test_clock_moves_by_exactly_one_period_after_a_command(stand):
    start_ns = stand.reset(SEED)
    for turn in range(1, 4):
        stand.send_hold(stand.now_ns)
        wanted = start_ns + turn * PERIOD_NS
        assert stand.until(lambda wanted=wanted: stand.complete(wanted)), stand.log
        stand.repeats(2)
        assert stand.now_ns == wanted
    clocks = {stamp_of(clock) for clock in stand.heard["/clock"]}
    assert {c for c in clocks if c >= start_ns} == {start_ns + k * PERIOD_NS for k in range(4)}


def test_command_with_another_stamp_moves_nothing(stand):
    start_ns = stand.reset(SEED)
    for stamp_ns in (start_ns - PERIOD_NS, start_ns - 1, start_ns + 1, start_ns + PERIOD_NS):
        stand.send_hold(stamp_ns)
    # such a command is no answer: the world does not begin to wait for a next one either
    stand.repeats(int(TIMEOUT_S / REPEAT_S) + 3)
    assert stand.now_ns == start_ns


def test_half_an_answer_moves_nothing_until_the_other_half_comes(stand):
    start_ns = stand.reset(SEED)
    stand.send_hold(start_ns, ["arm"])
    stand.repeats(3)
    assert stand.now_ns == start_ns
    stand.send_hold(start_ns, ["gripper"])
    assert stand.until(lambda: stand.now_ns == start_ns + PERIOD_NS), stand.log


def test_command_for_joints_that_are_not_there_is_dropped_by_name(stand):
    start_ns = stand.reset(SEED)
    stranger = hold(("wheel", *PANDA.arm_joints[1:]), start_ns, PANDA.home, start_ns)
    stand.send(stranger, PANDA.arm_joints)
    stand.send_hold(start_ns, ["gripper"])
    stand.repeats(3)
    assert stand.now_ns == start_ns
    assert "command dropped: no joint wheel; there are panda_joint1" in stand.log


def test_time_goes_on_without_a_policy_that_has_fallen_silent(stand):
    start_ns = stand.reset(SEED)
    stand.send_hold(start_ns)
    assert stand.until(lambda: stand.now_ns == start_ns + PERIOD_NS), stand.log
    assert stand.until(lambda: stand.now_ns == start_ns + 2 * PERIOD_NS, TIMEOUT_S + 20.0)
    assert "no command came in time" in stand.log


def test_arm_follows_its_commands(stand):
    start_ns = stand.reset(SEED)
    before = codecs.decode_joint_state(stand.at(start_ns)["joint_states"]).position[:7]
    target = before + 0.05
    for turn in range(4):
        stamp_ns = start_ns + turn * PERIOD_NS
        if turn == 0:
            start = Reference(before, np.zeros(7), np.zeros(7))
            arm = schedule(PANDA, stamp_ns, np.tile(target, (4, 1)), 0.05, start, stamp_ns)
            assert arm is not None
            stand.send(arm)
        else:
            stand.send(hold(PANDA.arm_joints, stamp_ns, target, stamp_ns))
        stand.send_hold(stamp_ns, ["gripper"])
        next_ns = stamp_ns + PERIOD_NS
        assert stand.until(lambda next_ns=next_ns: stand.complete(next_ns)), stand.log
    after = codecs.decode_joint_state(stand.at(start_ns + 4 * PERIOD_NS)["joint_states"])
    np.testing.assert_allclose(after.position[:7], target, atol=0.01)


def test_episode_that_runs_out_of_time_has_failed_and_its_clock_stands_still(stand):
    start_ns = stand.reset(SEED)
    for turn in range(5):
        stand.send_hold(start_ns + turn * PERIOD_NS)
        wanted = start_ns + (turn + 1) * PERIOD_NS
        assert stand.until(lambda wanted=wanted: stand.now_ns == wanted), stand.log
    assert stand.until(lambda: stand.episodes[-1]["state"] == "failed")
    assert stand.episodes[-1]["seed"] == str(SEED)
    assert stand.episodes[-1]["commands"] == "10"
    clocks = len(stand.heard["/clock"])
    assert stand.until(lambda: len(stand.heard["/clock"]) > clocks + 10)
    assert stand.now_ns == start_ns + 5 * PERIOD_NS


def first_observation(stand: Stand, seed: int) -> dict[str, bytes]:
    """What the first observation of an episode says, without its stamps."""
    messages = stand.at(stand.reset(seed))
    state = codecs.decode_joint_state(messages["joint_states"])
    poses = [codecs.decode_pose(messages[name]).pose for name in ("goal", "object")]
    return {
        "joint_states": state.position.tobytes() + state.velocity.tobytes(),
        "goal": poses[0].tobytes(),
        "object": poses[1].tobytes(),
        "points": bytes(messages["points"].data),
        "camera/image_raw": bytes(messages["camera/image_raw"].data),
    }


def test_same_seed_gives_the_same_first_observation_to_the_last_bit(stand):
    first = first_observation(stand, SEED)
    stand.send_hold(stand.now_ns)  # something happens in between
    other = first_observation(stand, SEED + 1)
    again = first_observation(stand, SEED)
    assert again == first
    for name in ("goal", "object", "points", "camera/image_raw"):
        assert other[name] != first[name], name


def test_clock_goes_on_over_a_reset(stand):
    # stamps of one episode are never taken for those of another
    before = stand.reset(SEED)
    assert stand.reset(SEED) > before


def test_wall_clock_world_goes_on_by_itself_and_follows_commands(tmp_path):
    stand = Stand("wall", tmp_path, max_time_s=60.0)
    try:
        start_ns = stand.reset(SEED, whole=False)
        assert stand.until(lambda: stand.now_ns > start_ns + 500_000_000), stand.log
        stamps = [stamp_of(clock) for clock in stand.heard["/clock"]]
        episode = [stamp_ns for stamp_ns in stamps if stamp_ns >= start_ns]
        steps = np.diff(episode)
        assert (steps > 0).all(), "the clock runs backwards"
        assert np.median(steps) == 10_000_000
        pictures = [stamp_of(message) for message in stand.heard["camera/image_raw"]]
        assert np.diff(pictures).min() >= PERIOD_NS
        # one command, of the past, as a policy's always is
        joints = codecs.decode_joint_state(stand.heard["joint_states"][-1])
        begin_ns, target = stand.now_ns + PERIOD_NS, joints.position[:7] + 0.05
        start = Reference(joints.position[:7], np.zeros(7), np.zeros(7))
        arm = schedule(PANDA, joints.stamp_ns, np.tile(target, (10, 1)), 0.05, start, begin_ns)
        assert arm is not None
        stand.send(arm)
        assert stand.until(lambda: stand.now_ns > arm.end_ns + 300_000_000), stand.log
        after = codecs.decode_joint_state(stand.heard["joint_states"][-1])
        np.testing.assert_allclose(after.position[:7], target, atol=0.01)
    finally:
        code = stand.close()
    assert code == 0, stand.log


def test_stream_with_a_fault_is_silent_for_its_time_and_its_neighbours_are_not(tmp_path):
    faults = ["points:silence:0.5:1.0", "object:stamp:0.5:1.0:-10"]
    stand = Stand("wall", tmp_path, max_time_s=60.0, faults=faults)
    try:
        start_ns = stand.reset(SEED, whole=False)
        end_ns = start_ns + 2_000_000_000
        assert stand.until(lambda: stand.now_ns > end_ns), stand.log
        assert stand.until(lambda: stamp_of(stand.heard["points"][-1]) > end_ns), stand.log

        def inside(name):
            span = range(start_ns + 500_000_000, start_ns + 1_500_000_000)
            return [m for m in stand.heard[name] if stamp_of(m) in span]

        assert inside("points") == []
        assert len(inside("camera/image_raw")) > 2
        assert inside("object") == []  # stamped ten seconds back: before the world began
        assert len(inside("goal")) > 2
    finally:
        code = stand.close()
    assert code == 0, stand.log
