# SPDX-License-Identifier: MIT
"""What a node sees live, what a bag of it gives, and what is trained on are the same bits."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter as RosParameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_models.contract.features import policy_images, policy_points, state_vector
from difftori_models.data import load_demos, state_vectors
from difftori_ros import codecs
from difftori_ros.codecs.camera_info import encode_camera_info
from difftori_ros.codecs.image import encode_image
from difftori_ros.codecs.point_cloud import encode_cloud
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import config_dir, share_dir
from difftori_ros.motion.trajectory import hold
from difftori_ros.nodes.bag_recorder_node import BagNode
from difftori_ros.nodes.node_base import STATUS_QOS, declare, trajectory_message
from difftori_ros.nodes.policy_inputs import PolicyInputs
from difftori_ros.observation import Observer, Refusal
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.observation.input_topics import InputTopics
from difftori_ros.policy.plan_schedule import PlanTimes
from difftori_ros.recording.bag_reader import Bag
from difftori_ros.recording.bag_replay import replay
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.status.health import Health
from difftori_ros.tools.bag_to_demos import NO_SEED, import_bags
from difftori_ros.types import Cloud, JointState, Pose
from difftori_sim.arm.tasks import find_task
from difftori_sim.demonstrations.record import expert_card

PANDA = load_profile("panda")
RAW = {"image_transport": "raw", "points_from": "cloud"}
COMPRESSED, DEPTH = {"image_transport": "compressed"}, {"points_from": "depth"}
STEPS = 12
FIRST_NS = 5_000_000_000
VALUES = values_of("policy_node", POLICY, [config_dir() / "sim.yaml"]) | {"trigger": "observation"}
BASE_FROM_CAMERA = pose_to_matrix(np.array(VALUES["camera_pose"]))


def card_of(variant, frames, ways):
    task = find_task("pick_cube")
    card = expert_card(task, variant, "panda")
    seen = dataclasses.replace(task.observation(variant), frames=frames, frames_apart_s=0.1)
    if ways == DEPTH:
        wide = {"color": False, "crop_min": (-3.0,) * 3, "crop_max": (3.0,) * 3}
        seen = dataclasses.replace(seen, points=dataclasses.replace(seen.points, **wide))
    return dataclasses.replace(card, observation=seen)


class Episode:
    """An arm that moves, and random scenes in front of its camera; one stamp per step."""

    def __init__(self, card, ways):
        self.card, self.ways, rng = card, ways, np.random.default_rng(0)
        self.stamps = [FIRST_NS + round(k * card.action.dt_s * 1e9) for k in range(STEPS)]
        swing = np.sin(np.linspace(0.0, 1.0, STEPS))[:, None] * 0.02
        arm = PANDA.home + swing * rng.uniform(-1, 1, len(PANDA.home))
        self.position = np.column_stack([arm, np.full(STEPS, 0.04)])
        self.velocity = rng.uniform(-0.5, 0.5, self.position.shape)
        self.poses = rng.uniform(-0.4, 0.4, (STEPS, 3))
        base = rng.uniform([0.4, -0.2, 0.01], [0.8, 0.2, 0.3], (STEPS, 1500, 3))
        inverse = np.linalg.inv(BASE_FROM_CAMERA)
        self.xyz = (base @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)
        self.rgb = rng.integers(0, 256, (STEPS, 1500, 3), dtype=np.uint8)
        self.picture = rng.integers(0, 256, (STEPS, 128, 128, 3), dtype=np.uint8)
        self.depth = rng.uniform(0.5, 1.0, (STEPS, 24, 32)).astype(np.float32)
        # the hand is told to close half way through
        self.gripper = np.where(np.arange(STEPS) < STEPS // 2, 0.04, 0.0)

    def messages(self, k):
        """Topic -> message of step k; the clock comes last, as it well may."""
        stamp_ns, frame, found = self.stamps[k], VALUES["camera_frame"], {}
        names, sources = PANDA.joint_names, InputTopics(self.card.observation, RAW | self.ways)
        message = found["joint_states"] = JointStateMessage()
        state = JointState(stamp_ns, names, self.position[k], self.velocity[k])
        codecs.encode_joint_state(state, message)
        for name in self.card.observation.poses:
            message = found[name] = PoseStamped()
            pose = np.array([*self.poses[k], 0.0, 0.6, 0.0, 0.8])
            codecs.encode_pose(Pose(stamp_ns, PANDA.base_frame, pose), message)
        if self.ways == DEPTH:
            message = found["points/camera_info"] = CameraInfo()
            matrix = np.array([[40.0, 0.0, 16.0], [0.0, 40.0, 12.0], [0.0, 0.0, 1.0]])
            encode_camera_info(message, stamp_ns, frame, matrix, 32, 24)
            message = ImageMessage(height=24, width=32, step=128, encoding="32FC1")
            codecs.ns_to_stamp(stamp_ns, message.header.stamp)
            message.header.frame_id = frame
            message.data = self.depth[k].tobytes()
            found["points/image_rect_raw"] = message
        elif self.card.observation.points:
            message = found["points"] = PointCloud2()
            encode_cloud(Cloud(stamp_ns, frame, self.xyz[k], self.rgb[k]), message, PointField)
        for camera in self.card.observation.images:
            message = ImageMessage()
            encode_image(self.picture[k], message, stamp_ns, frame)
            if self.ways == COMPRESSED:
                packed = io.BytesIO()
                PIL.Image.fromarray(self.picture[k]).save(packed, "JPEG")
                header, data = message.header, packed.getvalue()
                message = CompressedImage(header=header, format="jpeg", data=data)
            found[sources.topics[camera]] = message
        target = np.array([self.gripper[k]])
        command = hold((PANDA.gripper.joint,), stamp_ns, target, stamp_ns)
        found[PANDA.gripper.topic] = trajectory_message(command)
        clock = found["/clock"] = Clock()
        codecs.ns_to_stamp(stamp_ns, clock.clock)
        return found


class Stand:
    """Publisher, the policy node's inputs and the recorder, in real nodes of one process."""

    def __init__(self, card, ways, path, domain):
        self.card, spec = card, card.observation
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=int(domain))
        own = {"context": self._context}
        simulated = [RosParameter("use_sim_time", value=True)]
        simulated += [RosParameter(name, value=value) for name, value in ways.items()]
        self.robot = rclpy.create_node("robot", **own)
        self.policy = rclpy.create_node("policy", parameter_overrides=simulated, **own)
        declare(self.policy, POLICY)
        frames = FrameTree()
        frames.set_static(PANDA.base_frame, VALUES["camera_frame"], BASE_FROM_CAMERA)
        self.observer = Observer(spec, PANDA, Kinematics(PANDA), frames)
        self.times = PlanTimes(self.observer.streams, "observation", card.action.dt_s)
        self.inputs = PolicyInputs(self.policy, self.observer, Health(), lambda: 0.0)
        self.bag = BagNode(card, PANDA, path, values=VALUES | ways, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        for node in (self.robot, self.policy, self.bag):
            self._executor.add_node(node)
        self._out = {}

    def publish(self, messages):
        for topic, message in messages.items():
            if topic not in self._out:
                self._out[topic] = self.robot.create_publisher(type(message), topic, STATUS_QOS)
            self._out[topic].publish(message)

    def live(self, episode):
        """The observations of the episode, as they come."""
        seen = []
        self._calibrate(episode.messages(0))
        for k in range(STEPS):
            messages = episode.messages(k)
            before = dict(self.bag.counts)
            for _ in range(100):  # until the nodes have found each other
                self.publish(messages)
                if self._heard(k, episode, before):
                    break
            observation = self.observer.observe(self.times.time_ns(episode.stamps[k]))
            assert not isinstance(observation, Refusal), observation
            assert self.times.observed(observation.stamp_ns)
            seen.append(observation)
        return seen

    def _calibrate(self, messages):
        """Both know the cameras before the first depth image, as they soon do."""
        infos = {topic: m for topic, m in messages.items() if topic.endswith("camera_info")}
        for _ in range(200):
            known = self.inputs._topics._depth_cameras
            if all(self.bag.counts[topic] for topic in infos) and len(known) == len(infos):
                return
            self.publish(infos)
            self._executor.spin_once(timeout_sec=0.05)

    def _heard(self, k, episode, before):
        roles = [*self.card.observation.streams, "command/gripper", "clock"]
        for _ in range(50):
            self._executor.spin_once(timeout_sec=0.02)
            recorded = all(self.bag.counts[role] > before[role] for role in roles)
            if recorded and self.times.time_ns(episode.stamps[k]) == episode.stamps[k]:
                return True
        return False

    def close(self):
        self.bag.stop()
        self._executor.shutdown()
        for node in (self.robot, self.policy, self.bag):
            node.destroy_node()
        self._context.try_shutdown()


def tensors(observation, spec):
    """The bytes of everything that the networks see of an observation."""
    parts = [state_vector(observation, spec)]
    parts += [policy_points(observation, spec)] if spec.points else []
    return [part.tobytes() for part in (*parts, *policy_images(observation, spec))]


KINDS = [
    ("state", 1, {}),
    ("points", 1, {}),
    ("points", 3, {}),
    ("points", 1, DEPTH),
    ("rgb", 1, {}),
    ("rgb", 3, {}),
    ("rgb", 2, COMPRESSED),
]
"""Variants, how many frames are stacked, and how images and points come."""


@pytest.fixture(scope="module", params=KINDS, ids=str)
def recorded(request, tmp_path_factory):
    """Card, episode, what was seen of it live, its bag, and parameters of the policy node."""
    from tests.conftest import next_domain

    card = card_of(*request.param)
    path = tmp_path_factory.mktemp("bags") / f"{request.param[0]}.mcap"
    ways = request.param[2]
    stand, episode = Stand(card, ways, path, next_domain()), Episode(card, ways)
    try:
        seen = stand.live(episode)
    finally:
        stand.close()
    return card, episode, seen, path, VALUES | ways


def test_live_and_replayed_and_trained_are_the_same_bits(recorded, tmp_path):
    card, _, live, path, values = recorded
    spec = card.observation
    with Bag(path) as bag:
        replayed = list(replay(bag, card, PANDA, values))
    made = import_bags([path], card, PANDA, tmp_path / "demos.npz", values=values)
    demos = load_demos(tmp_path / "demos.npz")
    assert [o.stamp_ns for o in replayed] == [o.stamp_ns for o in live]
    assert made.steps == len(demos) == STEPS - 1  # the last one has no action
    for k, (one, other) in enumerate(zip(live, replayed, strict=True)):
        assert tensors(one, spec) == tensors(other, spec), k
        assert one.stamps_ns == other.stamps_ns
        assert [o.stamps_ns for o in one.past] == [o.stamps_ns for o in other.past]
    for k in range(len(demos)):
        assert tensors(live[k], spec) == tensors(demos.observation(k), spec), k
        assert state_vectors(demos)[k].tobytes() == tensors(live[k], spec)[0]
    assert len({str(tensors(o, spec)) for o in live}) == STEPS  # every step is another one


def test_actions_are_what_the_arm_did_and_where_the_gripper_was_told_to_go(recorded, tmp_path):
    card, episode, live, path, values = recorded
    import_bags([path], card, PANDA, tmp_path / "demos.npz", values=values)
    demos = load_demos(tmp_path / "demos.npz")
    tips = np.array([o.poses["tip"][:3] for o in live])
    moved = demos.actions[:, :3] * np.array(card.action.scale[:3])
    np.testing.assert_allclose(moved, np.diff(tips, axis=0), atol=1e-7)
    np.testing.assert_array_equal(demos.actions[:, 3], np.where(episode.gripper[:-1] > 0, 1, -1))
    assert set(demos.seed.tolist()) == {NO_SEED}
    assert set(demos.episode.tolist()) == {0}


def test_bag_of_another_rate_is_refused_with_both_rates(recorded, tmp_path):
    card, _, _, path, values = recorded
    slow = dataclasses.replace(card, action=dataclasses.replace(card.action, dt_s=0.2))
    with pytest.raises(ValueError, match=r"0\.050 s apart, an action of this card takes 0\.2 s"):
        import_bags([path], slow, PANDA, tmp_path / "none.npz", values=values)
    assert not (tmp_path / "none.npz").exists()


@pytest.mark.parametrize("recorded", [("points", 1, {})], indirect=True)
def test_the_example_of_the_how_to_page_runs_as_printed(recorded, tmp_path, monkeypatch):
    card, _, _, path, _ = recorded
    page = (share_dir() / "docs" / "how-to" / "record-and-replay.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "demos").mkdir()
    (tmp_path / "demos" / "first.mcap").symlink_to(path)
    for folder in ("checkpoints", "config"):
        (tmp_path / folder).symlink_to(share_dir() / folder)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(example, names)
    assert names["observation"].points.shape == (card.observation.points.count, 6)
