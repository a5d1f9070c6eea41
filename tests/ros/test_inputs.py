# SPDX-License-Identifier: MIT
"""Pictures and points come in whichever way the cameras send them, and are the same inside."""

import io
import time
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_models.contract.specs import ImageSpec, Observation, ObservationSpec, PointSpec
from difftori_ros import codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import depth_image
from difftori_ros.codecs import image as image_codec
from difftori_ros.nodes.node_base import StartupError
from difftori_ros.nodes.policy_inputs import PolicyInputs
from difftori_ros.observation import Observer
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.observation.image import process_image
from difftori_ros.observation.point_cloud import process_cloud
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.status.health import Health
from difftori_ros.types import Cloud, JointState
from tests.conftest import next_domain
from tests.support.fake_robot import HOME, PROFILE

BASE = PROFILE.base_frame
POINTS = PointSpec(BASE, 64, False, (-1.0, -1.0, 0.1), (1.0, 1.0, 2.0))
SEEN = ImageSpec(16, 24)
BARE = ObservationSpec(BASE, PROFILE.joint_names, (), ("position",))
STAMP = 5_000_000_000


class Ear:
    """The inputs of a policy node in this process, and a robot that speaks to it."""

    def __init__(self, spec: ObservationSpec, **parameters):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(next_domain()))
        values = {"image_transport": "raw", "points_from": "cloud", "trigger": "observation"}
        values |= parameters
        self.node = rclpy.create_node("ear", context=self.context)
        for name, value in values.items():
            self.node.declare_parameter(name, value)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.observer = Observer(spec, PROFILE, Kinematics(PROFILE), FrameTree())
        self.health, self.woken = Health(), 0
        self.inputs = PolicyInputs(
            self.node, self.observer, self.health, time.monotonic, self._wake
        )
        self.out = {}

    def _wake(self):
        self.woken += 1

    def hears(self, **messages):
        """Publish until everything is there; the observation."""
        joints = JointStateMessage()
        state = JointState(STAMP, PROFILE.joint_names, HOME, np.zeros(len(HOME)))
        codecs.encode_joint_state(state, joints)
        messages = {"joint_states": joints} | messages
        end = time.monotonic() + 30.0
        while self.observer.streams.silent():
            for name, message in messages.items():
                topic = name.replace("__", "/")
                if topic not in self.out:
                    self.out[topic] = self.node.create_publisher(type(message), topic, 1)
                self.out[topic].publish(message)
            self.executor.spin_once(timeout_sec=0.05)
            assert time.monotonic() < end, self.observer.streams.missing(STAMP)
        found = self.observer.observe(STAMP)
        assert isinstance(found, Observation), found
        return found

    def close(self):
        self.inputs.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def ear():
    made = []

    def make(spec, **parameters):
        made.append(Ear(spec, **parameters))
        return made[-1]

    yield make
    for one in made:
        one.close()


def stamped(message, frame=BASE):
    codecs.ns_to_stamp(STAMP, message.header.stamp)
    message.header.frame_id = frame
    return message


def test_compressed_picture_is_the_one_that_was_taken(ear):
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    packed = io.BytesIO()
    PIL.Image.fromarray(picture).save(packed, "PNG")
    message = stamped(CompressedImage(format="png", data=packed.getvalue()))
    spec = replace(BARE, images={"camera": SEEN})
    seen = ear(spec, image_transport="compressed").hears(camera__image_raw__compressed=message)
    np.testing.assert_array_equal(seen.images["camera"], process_image(picture, SEEN))


def test_raw_picture_is_the_one_that_was_taken(ear):
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    message = Image()
    image_codec.encode_image(picture, message, STAMP, BASE)
    seen = ear(replace(BARE, images={"camera": SEEN})).hears(camera__image_raw=message)
    np.testing.assert_array_equal(seen.images["camera"], process_image(picture, SEEN))


def test_depth_image_becomes_points_once_its_calibration_is_known(ear):
    depth = np.random.default_rng(2).uniform(0.3, 1.0, (24, 32)).astype(np.float32)
    message = stamped(Image(height=24, width=32, step=128, encoding="32FC1"))
    message.data = depth.tobytes()
    info = CameraInfo()
    matrix = np.array([[40.0, 0.0, 16.0], [0.0, 40.0, 12.0], [0.0, 0.0, 1.0]])
    camera_info_codec.encode_camera_info(info, STAMP, BASE, matrix, 32, 24)
    spec = replace(BARE, points=POINTS)
    listening = ear(spec, points_from="depth")
    seen = listening.hears(points__image_rect_raw=message, points__camera_info=info)
    camera = camera_info_codec.decode_camera_info(info)
    xyz = depth_image.depth_points(depth, camera)
    expected = process_cloud(Cloud(STAMP, BASE, xyz, None), np.eye(4), POINTS)
    np.testing.assert_array_equal(seen.points, expected)
    assert listening.inputs.topics()["points"] == "/points/image_rect_raw"


def test_depth_images_for_a_policy_that_wants_colour_are_refused(ear):
    spec = replace(BARE, points=replace(POINTS, color=True))
    with pytest.raises(StartupError, match="'depth', which has no colour"):
        ear(spec, points_from="depth")


def joint_message(ms, *, velocity=True):
    """Joint states of a robot at rest, some milliseconds after `STAMP`."""
    message = JointStateMessage(name=list(PROFILE.joint_names), position=HOME.tolist())
    message.velocity = [0.0] * len(HOME) if velocity else []
    codecs.ns_to_stamp(STAMP + ms * 1_000_000, message.header.stamp)
    return message


def polled(ear):
    """Inputs that know when joint states are needed, and a publisher that they have discovered."""
    listening = ear(BARE, trigger="timer")
    publisher = listening.node.create_publisher(JointStateMessage, "joint_states", 100)
    end = time.monotonic() + 30.0
    while not publisher.get_subscription_count():
        listening.executor.spin_once(timeout_sec=0.01)
        assert time.monotonic() < end
    return listening, publisher


def taken(listening, count):
    """Take until so many joint states have come."""
    end = time.monotonic() + 30.0
    while listening.observer.streams["joint_states"].stats.received < count:
        listening.inputs.take()
        assert time.monotonic() < end


def test_joint_states_wait_until_they_are_taken_and_wake_nobody(ear):
    listening, publisher = polled(ear)
    for ms in range(-49, 1):
        publisher.publish(joint_message(ms))
    for _ in range(20):
        listening.executor.spin_once(timeout_sec=0.01)
    assert listening.observer.streams.silent() == ["joint_states"]
    taken(listening, 50)
    seen = listening.observer.observe(STAMP)
    assert isinstance(seen, Observation)
    assert seen.stamp_ns == STAMP
    assert listening.woken == 0


def test_joint_states_wake_a_loop_that_plans_as_soon_as_they_are_here(ear):
    listening = ear(BARE)
    listening.hears()
    assert listening.woken > 0


def test_joint_states_that_cannot_be_used_are_named_once_they_are_needed(ear):
    listening, publisher = polled(ear)
    for ms, velocity in ((-2, True), (-1, False), (0, False)):
        publisher.publish(joint_message(ms, velocity=velocity))
    taken(listening, 3)
    seen = listening.observer.observe(STAMP)
    assert isinstance(seen, Observation)
    assert seen.stamp_ns == STAMP - 2_000_000
    assert listening.observer.streams.report(STAMP)["dropped_joint_states_unreadable"] == "2"
    late = listening.observer.observe(STAMP + 10**8)
    assert "wanted 8 entries in 'velocity'" in late.detail


def test_what_waits_can_be_forgotten_and_after_the_close_nothing_is_taken(ear):
    listening, publisher = polled(ear)
    publisher.publish(joint_message(0))
    for _ in range(20):  # it is here
        listening.executor.spin_once(timeout_sec=0.01)
    listening.inputs.forget()
    publisher.publish(joint_message(1))
    taken(listening, 1)
    assert listening.observer.streams.newest_ns("joint_states", STAMP) is None
    listening.inputs.close()
    listening.inputs.take()


def test_the_rate_of_joint_states_is_that_of_their_arrival_however_late_they_are_taken(ear):
    listening, publisher = polled(ear)
    steady = time.monotonic
    begin_s = steady()
    for k in range(41):
        publisher.publish(joint_message(k - 40))
        while steady() < begin_s + 0.005 * (k + 1):
            listening.executor.spin_once(timeout_sec=0.001)
    taken(listening, 41)
    values = listening.health.status(steady()).values
    took_s = steady() - begin_s
    assert float(values["joint_states_hz"]) == pytest.approx(40 / took_s, rel=0.2)
