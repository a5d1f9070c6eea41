# SPDX-License-Identifier: MIT
"""Pictures and points come in whichever way the cameras send them, and are the same inside."""

import io
import time
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensor_msgs.msg import JointState as JointStateMessage

from difftori_models.contract import ImageSpec, ObservationSpec, PointSpec
from difftori_ros import codecs, codecs_camera, codecs_image
from difftori_ros.base_node import StartupError
from difftori_ros.cloud import process_cloud
from difftori_ros.frames import FrameTree
from difftori_ros.health import Health
from difftori_ros.image import process_image
from difftori_ros.inputs_node import Inputs
from difftori_ros.kinematics import Kinematics
from difftori_ros.observe import Observation, Observer
from difftori_ros.types import Cloud, JointState
from tests.conftest import next_domain
from tests.ros.fake_robot import HOME, PROFILE

BASE = PROFILE.base_frame
POINTS = PointSpec(BASE, 64, False, (-1.0, -1.0, 0.1), (1.0, 1.0, 2.0))
SEEN = ImageSpec(16, 24)
BARE = ObservationSpec(BASE, PROFILE.joint_names, (), ("position",))
STAMP = 5_000_000_000


class Loop:
    """Who would be woken."""

    def wake(self):
        pass


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
        loop: Any = Loop()
        self.inputs = Inputs(self.node, self.observer, FrameTree(), loop, Health(), time.monotonic)
        self.out = {}

    def hears(self, **messages):
        """Publish until everything is there; the observation."""
        joints = JointStateMessage()
        state = JointState(STAMP, PROFILE.joint_names, HOME, np.zeros(len(HOME)))
        codecs.encode_joint_state(state, joints)
        messages = {"joint_states": joints} | messages
        end = time.monotonic() + 30.0
        while self.observer.silent():
            for name, message in messages.items():
                topic = name.replace("__", "/")
                if topic not in self.out:
                    self.out[topic] = self.node.create_publisher(type(message), topic, 1)
                self.out[topic].publish(message)
            self.executor.spin_once(timeout_sec=0.05)
            assert time.monotonic() < end, self.observer.lacking(STAMP)
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
    codecs_image.encode_image(picture, message, STAMP, BASE)
    seen = ear(replace(BARE, images={"camera": SEEN})).hears(camera__image_raw=message)
    np.testing.assert_array_equal(seen.images["camera"], process_image(picture, SEEN))


def test_depth_image_becomes_points_once_its_calibration_is_known(ear):
    depth = np.random.default_rng(2).uniform(0.3, 1.0, (24, 32)).astype(np.float32)
    message = stamped(Image(height=24, width=32, step=128, encoding="32FC1"))
    message.data = depth.tobytes()
    info = CameraInfo()
    matrix = np.array([[40.0, 0.0, 16.0], [0.0, 40.0, 12.0], [0.0, 0.0, 1.0]])
    codecs_camera.encode_camera_info(info, STAMP, BASE, matrix, 32, 24)
    spec = replace(BARE, points=POINTS)
    listening = ear(spec, points_from="depth")
    seen = listening.hears(points__image_rect_raw=message, points__camera_info=info)
    camera = codecs_camera.decode_camera_info(info)
    xyz = codecs_camera.depth_points(depth, camera)
    expected = process_cloud(Cloud(STAMP, BASE, xyz, None), np.eye(4), POINTS)
    np.testing.assert_array_equal(seen.points, expected)
    assert listening.inputs.topics()["points"] == "/points/image_rect_raw"


def test_depth_images_for_a_policy_that_wants_colour_are_refused(ear):
    spec = replace(BARE, points=replace(POINTS, color=True))
    with pytest.raises(StartupError, match="'depth', which has no colour"):
        ear(spec, points_from="depth")
