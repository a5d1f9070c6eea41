# SPDX-License-Identifier: MIT
"""Pictures of two cameras through real rclpy reach the networks as they do in one process."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Float32MultiArray

from difftori_models.checkpoint import save
from difftori_models.contract.features import network_for, state_size
from difftori_models.contract.network_settings import Solver
from difftori_models.contract.specs import Card, ImageSpec, Observation, ObservationSpec
from difftori_models.inference.planner import Planner
from difftori_models.policies.agent import Agent
from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import image as image_codec
from difftori_ros.nodes.node_base import STATUS_QOS
from difftori_ros.observation import Observer
from difftori_ros.observation.frame_tree import FrameTree
from difftori_ros.observation.image import image_topic, info_topic
from difftori_ros.observation.rectify import Lens, decode_lens
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.types import Image, JointState
from difftori_sim.arm.tasks import find_task
from tests.support.fake_robot import HOME, PROFILE, FakeRobot

CAMERAS = {
    "front": ImageSpec(24, 32, (0.1, 0.0, 0.9, 0.75)),
    "wrist": ImageSpec(16, 16, rectify=True),
}
PICTURES = {
    name: np.random.default_rng(k).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for k, name in enumerate(CAMERAS)
}
BENT = [-0.2, 0.05, 0.002, -0.003, 0.01]
MATRIX = np.array([[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """Random weights of a policy with two cameras."""
    action = find_task("pick_cube").action
    spec = ObservationSpec(
        PROFILE.base_frame, PROFILE.joint_names, (), ("position", "tip"), None, CAMERAS
    )
    entries, size = len(action.names), state_size(spec)
    card = Card(
        name="two_cameras",
        task="pick_cube",
        robot="panda",
        method="difftori",
        observation=spec,
        action=action,
        network=replace(network_for(spec), dropout=0.0),
        normaliser={
            "state": {"mean": (0.0,) * size, "std": (1.0,) * size},
            "action": {"mean": (0.0,) * entries, "std": (1.0,) * entries},
        },
        solver=Solver(iterations=2),
        training={},
        base="bc",
    )
    torch.manual_seed(0)
    weights = {name: rows.numpy() for name, rows in Agent(card).state_dict().items()}
    folder = tmp_path_factory.mktemp("two_cameras")
    save(folder, card, weights)
    return str(folder)


class Cameras:
    """A robot at rest and its two cameras."""

    def __init__(self, node):
        self._robot = FakeRobot(node)
        self.images, self.infos = (
            {name: node.create_publisher(kind, topic(name), 10) for name in CAMERAS}
            for kind, topic in ((ImageMessage, image_topic), (CameraInfo, info_topic))
        )

    def publish(self, calibrated: bool = True) -> None:
        stamp_ns = self._robot.publish(poses=False, cloud=False)
        for name, picture in PICTURES.items():
            if calibrated:
                self.infos[name].publish(calibration(stamp_ns))
            message = ImageMessage()
            image_codec.encode_image(picture, message, stamp_ns, name)
            self.images[name].publish(message)


def calibration(stamp_ns: int) -> CameraInfo:
    message = CameraInfo()
    camera_info_codec.encode_camera_info(message, stamp_ns, "wrist", MATRIX, 64, 48)
    message.d = BENT
    return message


def alone(checkpoint: str, lens: Lens) -> np.ndarray:
    """What the networks make of the same scene in this process."""
    planner = Planner(checkpoint)
    planner.publish_latent = True
    observer = Observer(planner.card.observation, PROFILE, Kinematics(PROFILE), FrameTree())
    observer.set_lens("wrist", lens)
    observer.streams.push("joint_states", JointState(1, PROFILE.joint_names, HOME, 0.0 * HOME), 1)
    for name, picture in PICTURES.items():
        observer.streams.push(name, Image(1, name, picture), 1)
    observation = observer.observe(1)
    assert isinstance(observation, Observation)
    context = planner.plan(observation).context
    assert context is not None
    return context


def at_camera_rate(publish: Callable[..., None]) -> Callable[[], None]:
    """Publishes no faster than a camera, however often it is called."""
    last_s = -1.0

    def each() -> None:
        nonlocal last_s
        if time.monotonic() - last_s > 0.05:
            last_s = time.monotonic()
            publish()

    return each


def test_latent_is_bit_for_bit_that_of_one_process_and_waits_for_the_calibration(
    graph, checkpoint
):
    latents: list[Float32MultiArray] = []
    graph.node.create_subscription(
        Float32MultiArray, "policy_node/latent", latents.append, STATUS_QOS
    )
    limits = {"joint_states_max_age_s": 0.5, "image_max_age_s": 0.5, "trigger": "observation"}
    limits["backend"] = "eager"  # as the planner of this test
    _, policy = policy_specs(checkpoint, "panda", parameters=limits)
    graph.start(policy)
    cameras = Cameras(graph.node)

    def uncalibrated() -> bool:
        return "no camera_info has come" in graph.newest("policy_node").get("message", "")

    graph.until(uncalibrated, each=at_camera_rate(lambda: cameras.publish(calibrated=False)))
    values = graph.newest("policy_node")
    assert values["code"] == "MISSING"
    assert "'wrist': " in values["message"]
    assert latents == []
    graph.until(lambda: len(latents) > 3, each=at_camera_rate(cameras.publish))
    wanted = alone(checkpoint, decode_lens(calibration(0)))
    for latent in latents:
        assert np.array(latent.data, np.float32).tobytes() == wanted.tobytes()
    log = graph.log("policy_node")
    for name in CAMERAS:
        assert f"/{name}/image_raw, at most 0.5 s old" in log
