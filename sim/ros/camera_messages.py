# SPDX-License-Identifier: MIT
"""What the simulated cameras see, as messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from difftori_ros import codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import image as image_codec
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.observation.image import image_topic, info_topic
from difftori_ros.rigid import matrix_to_pose
from difftori_ros.types import Pose
from difftori_sim.arm.world import CameraModel, World

VIEW_FRAME = "view_optical_frame"


def camera_streams(cameras: Sequence[str]) -> dict[str, Any]:
    """Type of every topic of these cameras, the cloud among them."""
    streams: dict[str, Any] = {"points": PointCloud2}
    for name in cameras:
        streams |= {image_topic(name): Image, info_topic(name): CameraInfo}
    return streams


def camera_messages(world: World) -> dict[str, Any]:
    """New pictures of all cameras and the cloud, by topic; calibrations come first."""
    pictures, cloud = world.sense()
    points = PointCloud2()
    point_cloud_codec.encode_cloud(cloud, points, PointField)
    messages: dict[str, Any] = {}
    for name, picture in pictures.items():
        frame = f"{name}_optical_frame"
        info, image = _messages(picture, world.camera(name), cloud.stamp_ns, frame)
        # an image that is to be rectified needs its calibration
        messages |= {info_topic(name): info, image_topic(name): image}
    return messages | {"points": points}


def view_messages(world: World, base_frame: str) -> tuple[PoseStamped, CameraInfo, Image]:
    """The picture for people: where its camera stands, its calibration, and itself."""
    camera, pose = world.render_camera(), PoseStamped()
    info, image = _messages(world.render(), camera, world.now_ns, VIEW_FRAME)
    view = Pose(world.now_ns, base_frame, matrix_to_pose(camera.base_from_camera))
    codecs.encode_pose(view, pose)
    return pose, info, image


def _messages(
    picture: Any, camera: CameraModel, stamp_ns: int, frame: str
) -> tuple[CameraInfo, Image]:
    info, image = CameraInfo(), Image()
    image_codec.encode_image(picture, image, stamp_ns, frame)
    camera_info_codec.encode_camera_info(
        info, stamp_ns, frame, camera.matrix, camera.width, camera.height
    )
    return info, image
