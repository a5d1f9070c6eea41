# SPDX-License-Identifier: MIT
"""Point clouds, images and camera matrices: ROS messages to arrays and back.

Messages are taken by their attributes alone, so this module imports no ROS package. Sizes that a
message states are compared with the bytes it carries before anything is allocated.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_models.contract import FloatArray
from difftori_ros.codecs import CodecError, ns_to_stamp, stamp_to_ns
from difftori_ros.types import Cloud

# sensor_msgs/PointField
UINT8, UINT32, FLOAT32, FLOAT64 = 2, 6, 7, 8
DATATYPES = {
    1: "INT8",
    UINT8: "UINT8",
    3: "INT16",
    4: "UINT16",
    5: "INT32",
    UINT32: "UINT32",
    FLOAT32: "FLOAT32",
    FLOAT64: "FLOAT64",
}
KINDS = {UINT8: "u1", UINT32: "u4", FLOAT32: "f4", FLOAT64: "f8"}

CHANNELS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
"""Encoding to bytes per pixel and where red, green and blue are among them."""
DEPTHS = {"16UC1": "u2", "32FC1": "f4"}


def decode_cloud(msg: Any) -> Cloud:
    """Cloud of the finite points of a PointCloud2, in message order, in memory of its own.

    Takes fields in any order, any point and row padding, both byte orders, organised or not. x, y,
    z are FLOAT32 or FLOAT64. Colour comes from `rgb` or `rgba` (FLOAT32 or UINT32, packed
    0xAARRGGBB) or from UINT8 fields `r`, `g`, `b`; without any of these `rgb` is None. Points with
    NaN or Inf are dropped whatever `is_dense` says (REP 117).

    Raises:
        CodecError: A field is missing, given twice, of another type or outside the point, or the
            data are shorter than the stated size.
    """
    fields: dict[str, Any] = {}
    for field in msg.fields:
        if field.name in fields and field.name in ("x", "y", "z", "rgb", "rgba", "r", "g", "b"):
            raise CodecError(f"cloud: wanted field '{field.name}' once, got it twice")
        fields[field.name] = field
    missing = [name for name in "xyz" if name not in fields]
    if missing:
        raise CodecError(
            f"cloud: wanted fields x, y, z, got {', '.join(fields) or 'none'}: "
            f"{', '.join(missing)} missing"
        )
    packed = next((name for name in ("rgb", "rgba") if name in fields), None)
    separate = packed is None and all(name in fields for name in "rgb")
    wanted: dict[str, tuple[int, ...]] = {name: (FLOAT32, FLOAT64) for name in "xyz"}
    if packed:
        wanted[packed] = (FLOAT32, UINT32)
    elif separate:
        wanted |= {name: (UINT8,) for name in "rgb"}
    for name, types in wanted.items():
        _check_field(fields[name], types, int(msg.point_step))
    _check_bytes(
        msg,
        "cloud",
        row_bytes=int(msg.width) * int(msg.point_step),
        # a single row needs no row_step, and some drivers leave it 0
        step=int(msg.row_step) if msg.height != 1 else int(msg.width) * int(msg.point_step),
    )

    n = int(msg.height) * int(msg.width)
    xyz = np.empty((n, 3), dtype=np.float32)
    # a FLOAT64 beyond float32 becomes Inf, and is dropped as such
    with np.errstate(over="ignore", invalid="ignore"):
        for column, name in enumerate("xyz"):
            _column(msg, fields[name], xyz[:, column])
    rgb = None
    if packed:
        bits = np.empty(n, dtype=np.uint32)
        _column(msg, fields[packed], bits, kind="u4")
        rgb = _unit(np.stack([bits >> 16, bits >> 8, bits], axis=1).astype(np.uint8))
    elif separate:
        channels = np.empty((n, 3), dtype=np.uint8)
        for column, name in enumerate("rgb"):
            _column(msg, fields[name], channels[:, column])
        rgb = _unit(channels)
    finite = np.isfinite(xyz).all(axis=1)
    if not finite.all():
        xyz = xyz[finite]
        rgb = rgb[finite] if rgb is not None else None
    return Cloud(stamp_to_ns(msg.header.stamp), str(msg.header.frame_id), xyz, rgb)


def encode_cloud(cloud: Cloud, msg: Any, field_cls: type) -> None:
    """Fill a PointCloud2: unorganised, little endian, 16 bytes per point, x y z and packed rgb.

    Args:
        cloud: What to write; colour is rounded to 8 bits per channel, and has no field if None.
        msg: The message to fill.
        field_cls: `sensor_msgs.msg.PointField`.
    """
    n = len(cloud.xyz)
    names = ["x", "y", "z"] + (["rgb"] if cloud.rgb is not None else [])
    points = np.zeros((n, 4), dtype="<f4")
    points[:, :3] = cloud.xyz
    if cloud.rgb is not None:
        channels = np.rint(np.clip(cloud.rgb, 0, 1) * np.float32(255)).astype(np.uint32)
        # written as integers: as floats, some of these bit patterns are NaN
        points.view("<u4")[:, 3] = channels[:, 0] << 16 | channels[:, 1] << 8 | channels[:, 2]
    ns_to_stamp(cloud.stamp_ns, msg.header.stamp)
    msg.header.frame_id = cloud.frame_id
    msg.height, msg.width = 1, n
    msg.fields = [
        field_cls(name=name, offset=4 * k, datatype=FLOAT32, count=1)
        for k, name in enumerate(names)
    ]
    msg.is_bigendian = False
    msg.point_step, msg.row_step = 16, 16 * n
    msg.data = _byte_array(points)
    msg.is_dense = bool(np.isfinite(points[:, :3]).all())


def decode_image(msg: Any) -> NDArray[np.uint8]:
    """RGB image (H, W, 3) uint8, in memory of its own.

    Raises:
        CodecError: The encoding is not one of rgb8, bgr8, rgba8, bgra8, mono8, the image is empty,
            or the data are shorter than the stated size.
    """
    if msg.encoding not in CHANNELS:
        raise CodecError(f"image: wanted encoding {', '.join(CHANNELS)}, got '{msg.encoding}'")
    channels, order = CHANNELS[msg.encoding]
    pixels = _pixels(msg, "image", channels, np.dtype("u1"))
    return np.ascontiguousarray(pixels[:, :, order])


def decode_depth(msg: Any) -> NDArray[np.float32]:
    """Depth image (H, W) float32 [m], NaN where nothing was measured (REP 118).

    16UC1 is in millimetres with 0 for no measurement; 32FC1 is in metres, where everything that is
    not a finite positive number is no measurement.

    Raises:
        CodecError: The encoding is neither 16UC1 nor 32FC1, the image is empty, or the data are
            shorter than the stated size.
    """
    if msg.encoding not in DEPTHS:
        raise CodecError(f"depth image: wanted encoding {', '.join(DEPTHS)}, got '{msg.encoding}'")
    kind = np.dtype((">" if msg.is_bigendian else "<") + DEPTHS[msg.encoding])
    raw = _pixels(msg, "depth image", 1, kind)[:, :, 0]
    depth = raw.astype(np.float32)
    measured = np.isfinite(depth) & (depth > 0)
    if kind.kind == "u":
        depth *= np.float32(1e-3)
    depth[~measured] = np.nan
    return depth


def encode_image(rgb: NDArray[np.uint8], msg: Any, stamp_ns: int, frame_id: str) -> None:
    """Fill a `sensor_msgs` Image with an RGB image (H, W, 3) uint8, encoding rgb8.

    Raises:
        CodecError: The array is not (H, W, 3) uint8.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise CodecError(f"image: wanted (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    ns_to_stamp(stamp_ns, msg.header.stamp)
    msg.header.frame_id = frame_id
    msg.height, msg.width = rgb.shape[0], rgb.shape[1]
    msg.encoding = "rgb8"
    msg.is_bigendian = 0
    msg.step = 3 * rgb.shape[1]
    msg.data = _byte_array(rgb)


def encode_camera_info(
    msg: Any, stamp_ns: int, frame_id: str, matrix: FloatArray, width: int, height: int
) -> None:
    """Fill a `sensor_msgs` CameraInfo of an undistorted camera with matrix (3, 3) [px]."""
    k = np.asarray(matrix, dtype=np.float64)
    ns_to_stamp(stamp_ns, msg.header.stamp)
    msg.header.frame_id = frame_id
    msg.width, msg.height = int(width), int(height)
    msg.distortion_model = "plumb_bob"
    msg.d = [0.0] * 5
    msg.k = k.ravel().tolist()
    msg.r = np.eye(3).ravel().tolist()
    msg.p = np.column_stack([k, np.zeros(3)]).ravel().tolist()


def decode_camera_matrix(msg: Any) -> FloatArray:
    """Camera matrix (3, 3) [px] of a CameraInfo.

    Raises:
        CodecError: It is not finite, or its focal lengths are not positive, as in an uncalibrated
            camera.
    """
    matrix = np.array(msg.k, dtype=np.float64).reshape(3, 3)
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise CodecError(
            "camera info: wanted a finite matrix k with positive focal lengths, "
            f"got {matrix.tolist()}"
        )
    return matrix


def _check_field(field: Any, types: tuple[int, ...], point_step: int) -> None:
    if field.datatype not in types:
        raise CodecError(
            f"cloud: wanted {' or '.join(DATATYPES[kind] for kind in types)} for field "
            f"'{field.name}', got {DATATYPES.get(field.datatype, field.datatype)}"
        )
    if field.count not in (0, 1):  # old drivers leave it 0
        raise CodecError(
            f"cloud: wanted one value per point in field '{field.name}', got {field.count}"
        )
    end = field.offset + int(KINDS[field.datatype][1])
    if end > point_step:
        raise CodecError(
            f"cloud: wanted field '{field.name}' within the point_step of {point_step}, "
            f"got bytes {field.offset} to {end}"
        )


def _check_bytes(msg: Any, what: str, row_bytes: int, step: int) -> None:
    """Pass when `msg.data` holds `height` rows of `row_bytes`, `step` bytes apart."""
    height, have = int(msg.height), len(msg.data)
    size = f"{height} rows of {int(msg.width)}"
    if height > 1 and step < row_bytes:
        raise CodecError(f"{what}: wanted a step of at least {row_bytes} bytes, got {step}")
    need = (height - 1) * step + row_bytes if height and row_bytes else 0
    if have < need:
        raise CodecError(f"{what}: wanted {need} bytes of data for {size}, got {have}")


def _column(msg: Any, field: Any, out: NDArray[Any], kind: str | None = None) -> None:
    """Copy one field of every point into `out` (N,), straight from the message's memory."""
    height, width = int(msg.height), int(msg.width)
    if height * width == 0:
        return
    values = np.ndarray(
        (height, width),
        dtype=np.dtype((">" if msg.is_bigendian else "<") + (kind or KINDS[field.datatype])),
        buffer=msg.data,
        offset=int(field.offset),
        strides=(int(msg.row_step) if height > 1 else 0, int(msg.point_step)),
    )
    np.copyto(out.reshape(height, width), values, casting="same_kind")


def _unit(channels: NDArray[np.uint8]) -> NDArray[np.float32]:
    scaled = channels.astype(np.float32)
    scaled /= np.float32(255)
    return scaled


def _pixels(msg: Any, what: str, channels: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """A view (H, W, channels) of the message's data."""
    height, width = int(msg.height), int(msg.width)
    if height == 0 or width == 0:
        raise CodecError(f"{what}: wanted pixels, got height {height} and width {width}")
    row_bytes = width * channels * kind.itemsize
    _check_bytes(msg, what, row_bytes=row_bytes, step=int(msg.step))
    return np.ndarray(
        (height, width, channels),
        dtype=kind,
        buffer=msg.data,
        strides=(
            int(msg.step) if height > 1 else 0,
            channels * kind.itemsize,
            kind.itemsize,
        ),
    )


def _byte_array(values: NDArray[Any]) -> array[int]:
    """The bytes of `values` in the container that a message takes without copying."""
    data = array("B")
    if values.size:
        data.frombytes(np.ascontiguousarray(values).data.cast("B"))
    return data
