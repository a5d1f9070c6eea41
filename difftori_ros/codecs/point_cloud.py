# SPDX-License-Identifier: MIT
"""Point clouds: `sensor_msgs` PointCloud2 to arrays and back.

Messages are taken by their attributes alone, so this module imports no ROS package. Where the
layout allows, as it does with most drivers, the points are views of the message's memory.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftori_ros.types import Cloud

from .buffers import byte_array, check_bytes
from .fields import CodecError, ns_to_stamp, stamp_to_ns

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
Place = tuple["np.dtype[Any]", int]
"""Type of a number, and where it begins in a point [B]."""
USED = ("x", "y", "z", "rgb", "rgba", "r", "g", "b")
"""Fields that mean something here; all others are left alone."""


def decode_cloud(msg: Any) -> Cloud:
    """Cloud of the finite points of a PointCloud2, in message order.

    Takes fields in any order, any point and row padding, both byte orders, organised or not. x, y,
    z are FLOAT32 or FLOAT64. Colour comes from `rgb` or `rgba` (FLOAT32 or UINT32, packed
    0xAARRGGBB) or from UINT8 fields `r`, `g`, `b`; without any of these `rgb` is None. Points with
    NaN or Inf are dropped whatever `is_dense` says (REP 117). The arrays may be views of the
    message's memory, so neither may be changed.

    Raises:
        CodecError: A field is missing, given twice, of another type or outside the point, or the
            data are shorter than the stated size.
    """
    fields = tuple((f.name, f.datatype, f.offset, f.count) for f in msg.fields)
    places, colors = _layout(fields, int(msg.point_step), bool(msg.is_bigendian))
    points = _points(msg)
    xyz = _three(points, places, np.float32)
    finite = np.isfinite(xyz[:, 0])
    finite &= np.isfinite(xyz[:, 1])
    finite &= np.isfinite(xyz[:, 2])
    if not finite.all():
        # whole points: ten times faster than numbers by index
        points = np.take(points, np.flatnonzero(finite))
        xyz = _three(points, places, np.float32)
    rgb = _three(points, colors, np.uint8) if colors else None
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
        rgb = cloud.rgb
        if rgb.dtype != np.uint8:
            rgb = np.rint(np.clip(rgb, 0, 1) * np.float32(255)).astype(np.uint8)
        # written as bytes: as floats, some of these bit patterns are NaN
        points.view("u1")[:, 14:11:-1] = rgb
    ns_to_stamp(cloud.stamp_ns, msg.header.stamp)
    msg.header.frame_id = cloud.frame_id
    msg.height, msg.width = 1, n
    msg.fields = [
        field_cls(name=name, offset=4 * k, datatype=FLOAT32, count=1)
        for k, name in enumerate(names)
    ]
    msg.is_bigendian = False
    msg.point_step, msg.row_step = 16, 16 * n
    msg.data = byte_array(points)
    msg.is_dense = bool(np.isfinite(points[:, :3]).all())


@lru_cache(maxsize=16)  # a camera's layout stays what it is, and costs more than its points
def _layout(
    fields: tuple[tuple[str, int, int, int], ...], point_step: int, big: bool
) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """Where x, y, z are in a point, and where red, green and blue; the latter may be empty.

    Args:
        fields: Name, datatype, offset and count of each field.
        point_step: Bytes of a point.
        big: Whether the numbers are big endian.
    """
    offsets: dict[str, int] = {}
    types: dict[str, int] = {}
    for name, datatype, offset, _ in fields:
        if name in offsets and name in USED:
            raise CodecError(f"cloud: wanted field '{name}' once, got it twice")
        offsets[name], types[name] = offset, datatype
    missing = [name for name in "xyz" if name not in offsets]
    if missing:
        raise CodecError(
            f"cloud: wanted fields x, y, z, got {', '.join(offsets) or 'none'}: "
            f"{', '.join(missing)} missing"
        )
    packed = next((name for name in ("rgb", "rgba") if name in offsets), None)
    separate = packed is None and all(name in offsets for name in "rgb")
    wanted: dict[str, tuple[int, ...]] = {name: (FLOAT32, FLOAT64) for name in "xyz"}
    if packed:
        wanted[packed] = (FLOAT32, UINT32)
    elif separate:
        wanted |= {name: (UINT8,) for name in "rgb"}
    for name, datatype, offset, count in fields:
        if name in wanted:
            _check_field(name, datatype, offset, count, wanted[name], point_step)

    order = ">" if big else "<"
    places = tuple((np.dtype(order + KINDS[types[name]]), offsets[name]) for name in "xyz")
    byte = np.dtype("u1")
    if packed:
        first, steps = offsets[packed], (1, 2, 3) if big else (2, 1, 0)
        return places, tuple((byte, first + k) for k in steps)  # of 0xAARRGGBB
    return places, tuple((byte, offsets[name]) for name in "rgb") if separate else ()


def _check_field(
    name: str, datatype: int, offset: int, count: int, types: tuple[int, ...], point_step: int
) -> None:
    if datatype not in types:
        raise CodecError(
            f"cloud: wanted {' or '.join(DATATYPES[kind] for kind in types)} for field "
            f"'{name}', got {DATATYPES.get(datatype, datatype)}"
        )
    if count not in (0, 1):  # old drivers leave it 0
        raise CodecError(f"cloud: wanted one value per point in field '{name}', got {count}")
    end = offset + int(KINDS[datatype][1])
    if end > point_step:
        raise CodecError(
            f"cloud: wanted field '{name}' within the point_step of {point_step}, "
            f"got bytes {offset} to {end}"
        )


def _points(msg: Any) -> NDArray[np.void]:
    """The bytes of every point (N,): a view, but for rows with bytes between them."""
    height, width, point_step = int(msg.height), int(msg.width), int(msg.point_step)
    row = width * point_step
    # a single row needs no row_step, and some drivers leave it 0
    step = int(msg.row_step) if height > 1 else row
    check_bytes(msg, "cloud", row_bytes=row, step=step)
    if height * width == 0:
        return np.empty(0, dtype=f"V{min(point_step, 2**16)}")
    shape, strides = (height, width), (step, point_step)
    grid = np.ndarray(shape, f"V{point_step}", msg.data, strides=strides)
    return np.ascontiguousarray(grid.reshape(-1))


def _three(points: NDArray[np.void], places: tuple[Place, ...], dtype: type) -> NDArray[Any]:
    """Three numbers of every point (N, 3): a view where they are evenly spaced and of `dtype`."""
    n, step = len(points), points.itemsize
    if n == 0:
        return np.empty((0, 3), dtype=dtype)
    (kind, first), (kind_2, second), (kind_3, third) = places
    gap = second - first
    if kind == kind_2 == kind_3 == dtype and third - second == gap:
        return np.ndarray((n, 3), kind, points, offset=first, strides=(step, gap))
    out = np.empty((3, n), dtype=dtype)
    # a FLOAT64 beyond float32 becomes Inf, and is dropped as such
    with np.errstate(over="ignore", invalid="ignore"):
        for row, (kind, offset) in zip(out, places, strict=True):
            row[:] = np.ndarray((n,), kind, points, offset=offset, strides=(step,))
    return out.T
