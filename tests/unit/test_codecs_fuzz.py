# SPDX-License-Identifier: MIT
"""Whatever comes over the wire, a decoder gives a valid sample or a `CodecError`, and stays small.

Some hundred messages by default; ten thousand with `--slow`.
"""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import io
import re
import struct
import tracemalloc
from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from sensor_msgs.msg import (
    CameraInfo,
    CompressedImage,
    Image,
    JointState,
    PointCloud2,
    PointField,
    RegionOfInterest,
)
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from difftori_ros import codecs
from difftori_ros.codecs import camera_info as camera_info_codec
from difftori_ros.codecs import compressed_image as compressed_image_codec
from difftori_ros.codecs import depth_image
from difftori_ros.codecs import image as image_codec
from difftori_ros.codecs import point_cloud as point_cloud_codec
from difftori_ros.codecs.fields import CodecError

MEMORY = 40
"""A decoder may take this many times the bytes of the message..."""
FLOOR = 64_000
"""...and this many bytes beside [B]."""

numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 1e308])
names = st.sampled_from(["panda_joint1", "panda_joint2", "", "x", "\x7f", "ä" * 50]) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=8
)
seconds = st.integers(-(2**31), 2**31 - 1) | st.just(0)
nanoseconds = st.integers(0, 2**32 - 1) | st.just(0)
stamps = st.builds(lambda s, n: Time(sec=s, nanosec=n), seconds, nanoseconds)
headers = st.builds(lambda t, f: Header(stamp=t, frame_id=f), stamps, names)
sizes = st.integers(0, 12) | st.sampled_from([2**16, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
blobs = st.binary(max_size=600) | st.builds(
    lambda seed, n: np.random.default_rng(seed).bytes(n), st.integers(0, 99), st.integers(0, 6000)
)


def rows(elements, most=9):
    return st.lists(elements, max_size=most)


@st.composite
def joint_states(draw):
    given_names, values = draw(rows(names)), numbers
    tidy = draw(st.booleans())  # or hardly any would be without a flaw
    if tidy:
        given_names, values = (
            [f"joint{k}" for k in range(draw(st.integers(1, 9)))],
            st.floats(-9, 9),
        )
    length = len(given_names)

    def column():
        size = length if tidy or draw(st.booleans()) else draw(st.integers(0, 9))
        return draw(st.lists(values, min_size=size, max_size=size))

    return JointState(
        header=draw(headers),
        name=given_names,
        position=column(),
        velocity=column(),
        effort=draw(rows(numbers, 2)),
    )


@st.composite
def poses(draw):
    xyz = Point(x=draw(numbers), y=draw(numbers), z=draw(numbers))
    turn = Quaternion(x=draw(numbers), y=draw(numbers), z=draw(numbers), w=draw(numbers))
    if draw(st.booleans()):  # or hardly any would be of norm one
        turn = Quaternion(x=0.6, y=0.0, z=0.8, w=draw(st.floats(0.0, 0.06)))
    return PoseStamped(header=draw(headers), pose=Pose(position=xyz, orientation=turn))


@st.composite
def trajectories(draw):
    joints = draw(rows(names))
    if draw(st.booleans()):
        joints = [f"joint{k}" for k in range(draw(st.integers(1, 9)))]

    def column():
        size = len(joints) if draw(st.integers(0, 9)) else draw(st.integers(0, 9))
        return draw(st.lists(numbers, min_size=size, max_size=size))

    points = [
        JointTrajectoryPoint(
            positions=column(),
            velocities=column(),
            accelerations=draw(rows(numbers, 1)),
            time_from_start=Duration(sec=draw(seconds), nanosec=draw(nanoseconds)),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    return JointTrajectory(header=draw(headers), joint_names=joints, points=points)


@st.composite
def images(draw):
    encodings = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "32FC1": 4}
    encodings |= {"16UC1": 2, "mono16": 2, "bayer_rggb8": 1, "bayer_gbrg16": 2}
    encoding = draw(st.sampled_from([*encodings, "yuv422", ""]))
    height, width, step, data = draw(sizes), draw(sizes), draw(sizes), draw(blobs)
    if draw(st.booleans()):  # or hardly anything would be an image
        height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
        step = width * encodings.get(encoding, 1) + draw(st.integers(0, 3))
        data = (data + bytes(range(256)) * 3)[: height * step]
    return Image(
        header=draw(headers),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=draw(st.integers(0, 255)),
        step=step,
        data=array("B", data),
    )


@st.composite
def clouds(draw):
    kinds = st.integers(0, 255) | st.sampled_from([2, 6, 7, 7, 7, 8])
    fields = [
        PointField(
            name=draw(st.sampled_from(["x", "y", "z", "rgb", "rgba", "r", "g", "b", "t", ""])),
            offset=draw(st.integers(0, 32) | sizes),
            datatype=draw(kinds),
            count=draw(st.integers(0, 2) | sizes),
        )
        for _ in range(draw(st.integers(0, 6)))
    ]
    tidy = draw(st.booleans())  # or hardly anything would be a cloud
    if tidy:
        given_names = ["x", "y", "z", *draw(st.sampled_from([[], ["rgb"], ["t"]]))]
        fields = [
            PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1)
            for k, name in enumerate(given_names)
        ]
    data = bytearray(draw(blobs))
    for place in draw(rows(st.integers(0, max(len(data) - 4, 0)), 4)):
        if len(data) >= 4:  # NaN and Inf of both byte orders
            data[place : place + 4] = draw(
                st.sampled_from([b"\x00\x00\xc0\x7f", b"\x7f\xc0\x00\x00", b"\x00\x00\x80\xff"])
            )
    height, width = draw(sizes), draw(sizes)
    point_step, row_step = draw(sizes), draw(sizes)
    if tidy and draw(st.booleans()):
        height, point_step = draw(st.integers(1, 3)), draw(st.sampled_from([16, 40]))
        width = len(data) // (height * point_step)
        row_step = width * point_step
    return PointCloud2(
        header=draw(headers),
        height=height,
        width=width,
        fields=fields,
        is_bigendian=draw(st.booleans()),
        point_step=point_step,
        row_step=row_step,
        data=array("B", bytes(data)),
        is_dense=draw(st.booleans()),
    )


@st.composite
def camera_infos(draw):
    """Every field of one that makes sense, or anything in its place."""

    def mostly(usual, other):
        return usual if draw(st.integers(0, 7)) else draw(other)

    def matrix(usual):
        return np.array(
            mostly(usual, st.lists(numbers, min_size=len(usual), max_size=len(usual))), np.float64
        )

    focal, middle = draw(st.floats(1, 900)), draw(st.floats(-9, 900))
    skew = draw(st.sampled_from([0.0, 1.0]))
    coefficients = st.lists(numbers, max_size=15)
    region = st.builds(RegionOfInterest, x_offset=sizes, y_offset=sizes, width=sizes, height=sizes)
    return CameraInfo(
        header=draw(headers),
        height=mostly(48, sizes),
        width=mostly(64, sizes),
        distortion_model=mostly("plumb_bob", names),
        d=mostly([0.1] * draw(st.integers(3, 6)), coefficients),
        k=matrix([focal, skew, middle, 0.0, focal, middle, 0.0, 0.0, 1.0]),
        r=matrix([0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0]),
        p=matrix([focal, 0.0, middle, 1.0, 0.0, focal, middle, 0.0, 0.0, 0.0, 1.0, 0.0]),
        binning_x=mostly(0, sizes),
        binning_y=mostly(1, sizes),
        roi=mostly(RegionOfInterest(), region),
    )


def packed(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


PICTURE = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
DEPTH = struct.pack("<iff", 0, 101.0, -9.0) + packed(PICTURE[:, :, 0].astype(np.uint16), "PNG")
COLORS = [packed(PICTURE, "JPEG"), packed(PICTURE, "PNG"), packed(PICTURE[:, :, 0], "PNG")]


@st.composite
def compressed_images(draw):
    """Pictures with some bytes changed, cut off or added."""
    data = bytearray(draw(st.sampled_from([DEPTH, *COLORS])))
    for place in draw(rows(st.integers(0, len(data) - 1), 3)):
        data[place] = draw(st.integers(0, 255))
    if not draw(st.integers(0, 3)):
        data = data[: draw(st.integers(0, len(data)))] + draw(blobs)
    forms = [
        "16UC1; compressedDepth png",
        "32FC1; compressedDepth",
        "jpeg",
        "x; png compressed rgb8",
    ]
    form = draw(st.sampled_from(forms) | names)
    if draw(st.booleans()):  # or hardly anything would be read
        data, form = (
            bytearray(draw(st.sampled_from([DEPTH, *COLORS]))),
            draw(st.sampled_from(forms)),
        )
    return CompressedImage(header=draw(headers), format=form, data=array("B", bytes(data)))


def decode_depth_cloud(message):
    """With a calibration of the size that the message states, as far as one can be."""
    width, height = (message.width or 1, message.height or 1)
    info = CameraInfo()
    camera_info_codec.encode_camera_info(
        info, 1, "camera", np.diag([9.0, 9.0, 1.0]), width, height
    )
    return depth_image.decode_depth_cloud(message, camera_info_codec.decode_camera_info(info))


def assert_joint_state(state):
    assert len(state.names) == len(set(state.names)) > 0
    assert state.position.shape == state.velocity.shape == (len(state.names),)
    assert np.isfinite(state.position).all()
    assert np.isfinite(state.velocity).all()


def assert_pose(pose):
    assert pose.pose.shape == (7,)
    assert np.isfinite(pose.pose).all()
    assert abs(np.linalg.norm(pose.pose[3:]) - 1) < 1e-9


def assert_trajectory(trajectory):
    shape = (len(trajectory.times), len(trajectory.joint_names))
    assert trajectory.positions.shape == trajectory.velocities.shape == shape
    assert min(shape) > 0
    assert np.isfinite(trajectory.times).all()


def assert_cloud(cloud):
    assert cloud.xyz.dtype == np.float32
    assert cloud.xyz.shape == (len(cloud.xyz), 3)
    assert np.isfinite(cloud.xyz).all()
    if cloud.rgb is not None:
        assert cloud.rgb.dtype == np.uint8
        assert cloud.rgb.shape == cloud.xyz.shape


def assert_image(image):
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.size > 0


def assert_depth(depth):
    assert depth.dtype == np.float32
    assert depth.ndim == 2
    assert not np.isinf(depth).any()
    assert not (depth <= 0).any()


def assert_camera(camera):
    assert camera.width > 0
    assert camera.height > 0
    for matrix in (camera.k, camera.p):
        assert np.isfinite(matrix).all()
        assert matrix[0, 0] > 0
        assert matrix[1, 1] > 0
        assert matrix[2, :3].tolist() == [0, 0, 1]
    np.testing.assert_allclose(camera.r @ camera.r.T, np.eye(3), atol=2e-3)
    assert np.isfinite(camera.distortion).all()


def assert_points(cloud):
    assert cloud.rgb is None
    assert cloud.xyz.dtype == np.float32
    assert (cloud.xyz[:, 2] > 0).all()


CASES = {
    "joint state": (joint_states(), codecs.decode_joint_state, assert_joint_state),
    "pose": (poses(), codecs.decode_pose, assert_pose),
    "trajectory": (trajectories(), codecs.decode_trajectory, assert_trajectory),
    "cloud": (clouds(), point_cloud_codec.decode_cloud, assert_cloud),
    "image": (images(), image_codec.decode_image, assert_image),
    "depth image": (images(), depth_image.decode_depth, assert_depth),
    "depth image to cloud": (images(), decode_depth_cloud, assert_points),
    "camera info": (camera_infos(), camera_info_codec.decode_camera_info, assert_camera),
    "compressed image": (
        compressed_images(),
        compressed_image_codec.decode_compressed_image,
        assert_image,
    ),
    "compressed depth": (
        compressed_images(),
        compressed_image_codec.decode_compressed_depth,
        assert_depth,
    ),
}


def size_of(message) -> int:
    """Bytes that the message carries, roughly."""
    points = getattr(message, "points", ())
    length = sum(len(p.positions) + len(p.velocities) for p in points) * 8
    return length + len(getattr(message, "data", b"")) + 200 * len(getattr(message, "name", ()))


def allowed(message, sample) -> int:
    """Bytes that decoding the message may take."""
    if isinstance(message, CompressedImage):  # few bytes may well be many pixels
        return 400_000 + 10 * (0 if sample is None else sample.nbytes)
    return FLOOR + MEMORY * size_of(message)


def fuzz(what: str, count: int, same_again: bool) -> None:
    messages, decode, assert_valid = CASES[what]
    decoded = 0

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=same_again,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(messages)
    def run(message):
        nonlocal decoded
        tracemalloc.start()
        try:
            sample = decode(message)
        except CodecError as error:
            sample, complaint = None, str(error)
            assert re.match(f"{what.partition(' to ')[0]}: wanted .*, got ", complaint, re.DOTALL)
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < allowed(message, sample), "memory is not bounded by the message"
        if sample is not None:
            assert_valid(sample)
            decoded += 1

    run()
    assert decoded, "nothing that came could be read: the test shows nothing"


@pytest.mark.parametrize("what", CASES)
def test_some_hundred_messages_give_valid_samples_or_are_refused_by_name(what):
    fuzz(what, 120, same_again=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("what", CASES)
def test_ten_thousand_messages_give_valid_samples_or_are_refused_by_name(what):
    fuzz(what, 1430, same_again=False)
