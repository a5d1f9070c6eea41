# SPDX-License-Identifier: MIT
"""Where each stream comes from, and what its messages hold: one rule for nodes and for bags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from difftori_models.contract.specs import ObservationSpec
from difftori_ros import codecs
from difftori_ros.codecs.camera_info import decode_camera_info
from difftori_ros.codecs.depth_image import decode_depth_cloud
from difftori_ros.codecs.point_cloud import decode_cloud
from difftori_ros.errors import DifftoriError
from difftori_ros.types import CameraInfo

from .image import decode_compressed_picture, decode_picture, image_topic, info_topic
from .rectify import Lens, decode_lens

CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
IMAGE = "sensor_msgs/msg/Image"
INPUT_FORMATS: Mapping[str, tuple[str, str, Callable[[Any], Any]]] = {
    "joint_states": ("{}", "sensor_msgs/msg/JointState", codecs.decode_joint_state),
    "pose": ("{}", "geometry_msgs/msg/PoseStamped", codecs.decode_pose),
    "points": ("{}", "sensor_msgs/msg/PointCloud2", decode_cloud),
    "image": (image_topic("{}"), IMAGE, decode_picture),
    "compressed image": (
        f"{image_topic('{}')}/compressed",
        "sensor_msgs/msg/CompressedImage",
        decode_compressed_picture,
    ),
}
"""Relative topic, type and decoder of every way in which a stream can come, but for depth."""
DEPTH_TOPIC = "{}/image_rect_raw"


class InputTopicError(DifftoriError, ValueError):
    """The streams cannot come in that way; the message says why."""


class _TakesLens(Protocol):
    def set_lens(self, camera: str, lens: Lens) -> None: ...


class InputTopics:
    """The streams of an observation as the parameters of the policy node say that they come.

    Attributes:
        topics: Stream -> relative topic.
        types: Stream -> type of its messages, as `sensor_msgs/msg/Image`.
        calibrations: Stream -> relative topic of the calibration without which it is of no use.
    """

    def __init__(self, spec: ObservationSpec, values: Mapping[str, Any]):
        """Nothing has come yet.

        Args:
            spec: What is observed.
            values: Parameters of the policy node: `image_transport` and `points_from`.

        Raises:
            InputTopicError: Depth images are to become points with colour.
        """
        self._depth_cameras: dict[str, CameraInfo] = {}
        self._decoders: dict[str, Callable[[Any], Any]] = {}
        self.topics: dict[str, str] = {}
        self.types: dict[str, str] = {}
        from_depth = spec.clouds if values["points_from"] == "depth" else ()
        if from_depth and spec.points is not None and spec.points.color:
            raise InputTopicError(
                "points_from is 'depth', which has no colour, and the checkpoint wants xyz + rgb"
            )
        for stream in spec.streams:
            if stream in from_depth:
                self.topics[stream], self.types[stream] = DEPTH_TOPIC.format(stream), IMAGE
                continue
            kind = spec.kind(stream)
            if kind == "image" and values["image_transport"] == "compressed":
                kind = "compressed image"
            topic, self.types[stream], self._decoders[stream] = INPUT_FORMATS[kind]
            self.topics[stream] = topic.format(stream)
        rectified = [camera for camera, wanted in spec.images.items() if wanted.rectify]
        self.calibrations = {stream: info_topic(stream) for stream in (*rectified, *from_depth)}

    def decode(self, stream: str, message: Any) -> Any:
        """The sample that a message of a stream holds.

        Raises:
            CodecError: It cannot be read, or the calibration that it needs has not come.
        """
        if stream in self._decoders:
            return self._decoders[stream](message)
        if stream not in self._depth_cameras:
            raise codecs.CodecError(f"depth image: nothing on '{info_topic(stream)}' yet")
        return decode_depth_cloud(message, self._depth_cameras[stream])

    def calibrate(self, stream: str, message: Any, observer: _TakesLens) -> None:
        """Take in a stream's `sensor_msgs` CameraInfo.

        Raises:
            CodecError: It cannot be used.
        """
        if stream in self._decoders:
            observer.set_lens(stream, decode_lens(message))
        else:
            self._depth_cameras[stream] = decode_camera_info(message)
