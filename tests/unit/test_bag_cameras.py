# SPDX-License-Identifier: MIT
"""Bags in the layout of `ros2 bag record`, with what cameras send and `/tf`, are trained from."""

import io
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import ImageSpec, PointSpec
from difftori_models.data import load_demos
from difftori_ros.codecs.camera_info import decode_camera_info
from difftori_ros.codecs.depth_image import depth_points
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.observation.image import process_image
from difftori_ros.observation.input_topics import InputTopicError, InputTopics
from difftori_ros.observation.point_cloud import process_cloud
from difftori_ros.recording.bag_reader import Bag
from difftori_ros.recording.bag_replay import replay
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.tools.bag_to_demos import import_bags
from difftori_ros.types import Cloud
from tests.support.bag_files import FIRST_NS, PANDA, TYPES, gripper_trajectory, header, joints

T = TYPES.types
STEPS, PERIOD_NS = 12, 50_000_000
ROWS, COLUMNS = 24, 32
TRANSPORT = {"image_transport": "compressed", "points_from": "depth"}
VALUES = values_of("policy_node", POLICY) | {"trigger": "observation"} | TRANSPORT
SEEN = ImageSpec(12, 16, (0.25, 0.0, 1.0, 1.0), rectify=True)
POINTS = PointSpec(PANDA.base_frame, 64, False, (-2.0,) * 3, (2.0,) * 3)
PLAIN = load_card(find_checkpoint("pick_cube_state"))
CARD = replace(
    PLAIN,
    observation=replace(
        PLAIN.observation,
        poses=(),
        features=("position",),
        images={"camera": SEEN},
        points=POINTS,
    ),
)
"""A rectified colour camera and a depth camera; the depth camera hangs on a mast that turns."""
MOUNT = np.array([0.1, 0.0, 0.05, 0.5, -0.5, 0.5, -0.5])


def mast(k):
    """Pose of the mast at step k: it turns about z."""
    angle = 0.05 * k
    return np.array([0.3, 0.2, 0.4, 0.0, 0.0, np.sin(angle / 2), np.cos(angle / 2)])


def transforms(stamp_ns, parent, child, pose):
    vector = T["geometry_msgs/msg/Vector3"](*pose[:3])
    turn = T["geometry_msgs/msg/Quaternion"](*pose[3:])
    transform = T["geometry_msgs/msg/Transform"](vector, turn)
    stamped = T["geometry_msgs/msg/TransformStamped"](header(stamp_ns, parent), child, transform)
    return T["tf2_msgs/msg/TFMessage"]([stamped])


def calibration(stamp_ns, frame):
    k = np.array([30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0])
    p = np.insert(k, [3, 6, 9], 0.0)
    region = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(stamp_ns, frame),
        height=ROWS,
        width=COLUMNS,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=k,
        r=np.eye(3).ravel(),
        p=p,
        binning_x=0,
        binning_y=0,
        roi=region,
    )


class Cell:
    """What the cameras of a cell saw, and a bag of it."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.pictures = rng.integers(0, 256, (STEPS, ROWS, COLUMNS, 3), dtype=np.uint8)
        self.depths = rng.uniform(0.4, 1.0, (STEPS, ROWS, COLUMNS)).astype(np.float32)

    def messages(self, k):
        """Topic -> message of step k, the stamp that all share last."""
        stamp_ns, position = FIRST_NS + k * PERIOD_NS, np.append(PANDA.home, 0.04)
        position[0] += 1e-2 * k
        packed = io.BytesIO()
        PIL.Image.fromarray(self.pictures[k]).save(packed, "PNG")
        depth = np.frombuffer(self.depths[k].tobytes(), np.uint8)
        found = {
            "/camera/camera_info": calibration(stamp_ns, "camera"),
            "/points/camera_info": calibration(stamp_ns, "depth"),
            "/camera/image_raw/compressed": T["sensor_msgs/msg/CompressedImage"](
                header(stamp_ns, "camera"), "png", np.frombuffer(packed.getvalue(), np.uint8)
            ),
            "/points/image_rect_raw": T["sensor_msgs/msg/Image"](
                header(stamp_ns, "depth"), ROWS, COLUMNS, "32FC1", 0, 4 * COLUMNS, depth
            ),
            "/tf": transforms(stamp_ns, PANDA.base_frame, "mast", mast(k)),
            f"/{PANDA.gripper.topic}": gripper_trajectory(0, 0.0),
            "/joint_states": joints(stamp_ns, position),
        }
        return found if k else {"/tf_static": transforms(0, "mast", "depth", MOUNT)} | found

    def written(self, path, plugin):
        """A folder with `metadata.yaml` and the storage that `ros2 bag record` would use."""
        with Writer(path, version=9, storage_plugin=plugin) as writer:
            connections = {}
            for k in range(STEPS):
                for name, message in self.messages(k).items():
                    kind = message.__msgtype__
                    if name not in connections:
                        connections[name] = writer.add_connection(name, kind, typestore=TYPES)
                    data = TYPES.serialize_cdr(message, kind)
                    writer.write(connections[name], FIRST_NS + k * PERIOD_NS + 1_000_000, data)
        return path

    def points(self, k):
        camera = decode_camera_info(calibration(FIRST_NS, "depth"))
        cloud = Cloud(FIRST_NS, "depth", depth_points(self.depths[k], camera), None)
        return process_cloud(cloud, pose_to_matrix(mast(k)) @ pose_to_matrix(MOUNT), POINTS)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_bag_of_ros2s_recorder_becomes_the_training_set_of_what_the_cameras_saw(tmp_path, plugin):
    cell = Cell()
    path = cell.written(tmp_path / "bag", plugin)
    suffix = {StoragePlugin.MCAP: ".mcap", StoragePlugin.SQLITE3: ".db3"}[plugin]
    assert sorted(p.suffix for p in path.iterdir()) == sorted([suffix, ".yaml"])
    with Bag(path) as bag:
        assert len(list(replay(bag, CARD, PANDA, VALUES))) == STEPS
    made = import_bags([path], CARD, PANDA, tmp_path / "demos.npz", values=VALUES)
    demos = load_demos(tmp_path / "demos.npz")
    assert (made.episodes, made.steps, made.refusals) == (1, STEPS - 1, {})
    for k in range(STEPS - 1):
        # the calibration has no distortion, so that rectified is as taken
        wanted = process_image(cell.pictures[k], replace(SEEN, rectify=False))
        np.testing.assert_array_equal(demos.images["camera"][k], wanted)
        np.testing.assert_allclose(demos.points[k], cell.points(k), atol=1e-6)
    assert not np.allclose(cell.points(0), cell.points(1))


def test_depth_that_came_before_its_calibration_is_counted_as_unreadable(tmp_path):
    cell = Cell()
    first = cell.messages(0)
    del first["/points/camera_info"]
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {
            name: writer.add_connection(name, message.__msgtype__, typestore=TYPES)
            for name, message in cell.messages(0).items()
        }
        for k, messages in enumerate([first, *(cell.messages(k) for k in range(1, STEPS))]):
            for name, message in messages.items():
                data = TYPES.serialize_cdr(message, message.__msgtype__)
                writer.write(connections[name], FIRST_NS + k * PERIOD_NS, data)
    made = import_bags([path], CARD, PANDA, tmp_path / "demos.npz", values=VALUES)
    assert made.steps == STEPS - 2


def test_streams_are_looked_for_where_the_parameters_say_that_they_come(tmp_path):
    sources = InputTopics(CARD.observation, TRANSPORT)
    assert sources.topics["camera"] == "camera/image_raw/compressed"
    assert sources.types["camera"] == "sensor_msgs/msg/CompressedImage"
    assert sources.topics["points"] == "points/image_rect_raw"
    assert sources.calibrations == {"camera": "camera/camera_info", "points": "points/camera_info"}
    colour = replace(CARD.observation, points=replace(POINTS, color=True))
    with pytest.raises(InputTopicError, match="which has no colour"):
        InputTopics(colour, TRANSPORT)
