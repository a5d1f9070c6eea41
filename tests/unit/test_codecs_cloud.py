# SPDX-License-Identifier: MIT
"""Clouds of every legal layout decode to the right points; the others are refused by name."""

import os

os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"

import math
import re
import struct
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import PointCloud2, PointField

from difftori_ros.codecs.fields import CodecError
from difftori_ros.codecs.point_cloud import decode_cloud, encode_cloud
from difftori_ros.types import Cloud

FORMATS = {
    PointField.INT8: "b",
    PointField.UINT8: "B",
    PointField.INT16: "h",
    PointField.UINT16: "H",
    PointField.INT32: "i",
    PointField.UINT32: "I",
    PointField.FLOAT32: "f",
    PointField.FLOAT64: "d",
}
STAMP_NS = 12_000_000_034
quick = settings(deadline=None, max_examples=150)


def make_cloud(n: int = 5, color: bool = True) -> Cloud:
    rng = np.random.default_rng(n)
    rgb = rng.integers(0, 256, (n, 3)).astype(np.uint8) if color else None
    return Cloud(STAMP_NS, "camera", rng.normal(size=(n, 3)).astype(np.float32), rgb)


def make_message(n: int = 5, color: bool = True) -> PointCloud2:
    message = PointCloud2()
    encode_cloud(make_cloud(n, color), message, PointField)
    return message


@st.composite
def legal_messages(draw) -> tuple[PointCloud2, np.ndarray, np.ndarray | None]:
    """A message of any legal layout, and the points and 8-bit colours that are in it."""
    kinds = {
        name: draw(st.sampled_from([PointField.FLOAT32, PointField.FLOAT64])) for name in "xyz"
    }
    color = draw(st.sampled_from(["none", "rgb", "rgba", "separate"]))
    if color in ("rgb", "rgba"):
        kinds[color] = draw(st.sampled_from([PointField.FLOAT32, PointField.UINT32]))
    elif color == "separate":
        kinds.update(dict.fromkeys("rgb", PointField.UINT8))
    for extra in draw(st.sets(st.sampled_from(["intensity", "ring", "t"]))):
        kinds[extra] = draw(st.sampled_from(list(FORMATS)))
    message = PointCloud2()
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 34
    message.header.frame_id = "camera"
    offset = 0
    for name in draw(st.permutations(list(kinds))):
        offset += draw(st.integers(0, 5))
        message.fields.append(
            PointField(
                name=name, offset=offset, datatype=kinds[name], count=draw(st.integers(0, 1))
            )
        )
        offset += struct.calcsize(FORMATS[kinds[name]])
    message.height, message.width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    message.point_step = offset + draw(st.integers(0, 5))
    message.row_step = message.width * message.point_step + draw(st.integers(0, 9))
    message.is_bigendian = draw(st.booleans())
    message.is_dense = draw(st.booleans())

    n = message.height * message.width
    number = st.one_of(
        st.floats(width=32, min_value=-100, max_value=100), st.sampled_from([math.nan, math.inf])
    )
    xyz = np.array(draw(st.lists(number, min_size=3 * n, max_size=3 * n)), dtype=np.float32)
    xyz = xyz.reshape(n, 3)
    bytes_ = draw(st.binary(min_size=4 * n, max_size=4 * n))
    rgba = np.frombuffer(bytes_, dtype=np.uint8).reshape(n, 4)
    data = bytearray(draw(st.binary(min_size=1, max_size=1)) * (message.height * message.row_step))
    order = ">" if message.is_bigendian else "<"
    for k in range(n):
        row, column = divmod(k, message.width)
        for field in message.fields:
            place = row * message.row_step + column * message.point_step + field.offset
            if field.name in "xyz":
                value = float(xyz[k, "xyz".index(field.name)])
                struct.pack_into(order + FORMATS[field.datatype], data, place, value)
            elif field.name in ("rgb", "rgba"):
                r, g, b, a = (int(v) for v in rgba[k])
                struct.pack_into(order + "I", data, place, a << 24 | r << 16 | g << 8 | b)
            elif field.name in ("r", "g", "b"):
                data[place] = int(rgba[k, "rgb".index(field.name)])
    message.data = array("B", bytes(data))
    finite = np.isfinite(xyz).all(axis=1)
    return message, xyz[finite], None if color == "none" else rgba[finite, :3]


@quick
@given(legal_messages())
def test_any_legal_layout_decodes_to_the_points_that_were_written(case):
    message, xyz, colors = case
    cloud = decode_cloud(message)
    assert (cloud.stamp_ns, cloud.frame_id) == (STAMP_NS, "camera")
    assert cloud.xyz.dtype == np.float32
    np.testing.assert_array_equal(cloud.xyz, xyz)
    if colors is None:
        assert cloud.rgb is None
    else:
        assert cloud.rgb is not None
        assert cloud.rgb.dtype == np.uint8
        np.testing.assert_array_equal(cloud.rgb, colors)


sizes = st.one_of(st.integers(0, 5), st.sampled_from([2**16, 2**31, 2**32 - 1]))
fields = st.builds(
    PointField,
    name=st.sampled_from(["x", "y", "z", "rgb", "rgba", "r", "g", "b", "intensity", ""]),
    offset=st.one_of(st.integers(0, 24), st.just(2**32 - 1)),
    datatype=st.one_of(st.sampled_from([2, 6, 7, 8]), st.integers(0, 255)),
    count=sizes,
)


@quick
@given(
    st.lists(fields, max_size=8),
    sizes,
    sizes,
    st.one_of(st.integers(0, 40), sizes),
    st.one_of(st.integers(0, 200), sizes),
    st.booleans(),
    st.binary(max_size=400),
)
def test_arbitrary_messages_give_finite_points_or_a_codec_error(
    field_list, height, width, point_step, row_step, big, data
):
    message = PointCloud2(
        fields=field_list,
        height=height,
        width=width,
        point_step=point_step,
        row_step=row_step,
        is_bigendian=big,
        data=array("B", data),
    )
    decodes_or_refuses(message)


@quick
@given(
    legal_messages(),
    st.sampled_from(["height", "width", "point_step", "row_step", "data", "field"]),
    sizes,
    st.data(),
)
def test_a_legal_message_with_one_wrong_entry_gives_finite_points_or_a_codec_error(
    case, what, size, draw
):
    message = case[0]
    if what == "data":
        keep = draw.draw(st.integers(0, len(message.data)))
        message.data = message.data[:keep]
    elif what == "field":
        field = draw.draw(st.sampled_from(message.fields))
        setattr(field, draw.draw(st.sampled_from(["offset", "count"])), size)
    else:
        setattr(message, what, size)
    decodes_or_refuses(message)


def decodes_or_refuses(message: PointCloud2) -> None:
    try:
        cloud = decode_cloud(message)
    except CodecError as error:
        complaint = str(error)
    else:
        assert np.isfinite(cloud.xyz).all()
        assert cloud.rgb is None or len(cloud.rgb) == len(cloud.xyz)
        return
    assert re.match("cloud: wanted .*, got ", complaint)


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("n", [0, 1, 200])
def test_encoding_and_decoding_gives_the_same_cloud(n, color):
    cloud = make_cloud(n, color)
    again = decode_cloud(make_message(n, color))
    assert (again.stamp_ns, again.frame_id) == (cloud.stamp_ns, cloud.frame_id)
    np.testing.assert_array_equal(again.xyz, cloud.xyz)
    if color:
        np.testing.assert_array_equal(again.rgb, cloud.rgb)
    else:
        assert again.rgb is None


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_every_8_bit_color_survives(kind):
    values = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    given = values if kind is np.uint8 else values.astype(np.float32) / np.float32(255)
    message = PointCloud2()
    encode_cloud(Cloud(1, "c", np.zeros((256, 3), np.float32), given), message, PointField)
    np.testing.assert_array_equal(decode_cloud(message).rgb, values)


def test_an_encoded_cloud_has_sixteen_bytes_per_point_little_endian():
    message = make_message(7)
    assert [field.name for field in message.fields] == ["x", "y", "z", "rgb"]
    assert [field.offset for field in message.fields] == [0, 4, 8, 12]
    assert (message.height, message.width) == (1, 7)
    assert (message.point_step, message.row_step, len(message.data)) == (16, 112, 112)
    assert message.is_dense
    assert not message.is_bigendian


def test_points_of_the_usual_layout_are_views_of_the_message():
    message = make_message()
    cloud, memory = decode_cloud(message), np.frombuffer(message.data, np.uint8)
    assert np.shares_memory(cloud.xyz, memory)
    assert np.shares_memory(cloud.rgb, memory)


def test_a_point_that_is_dropped_leaves_the_others_with_their_colors():
    cloud = make_cloud(200)
    for row, value in ((3, np.nan), (77, np.inf), (199, -np.inf)):
        cloud.xyz[row, row % 3] = value
    message = PointCloud2()
    encode_cloud(cloud, message, PointField)
    assert not message.is_dense
    message.is_dense = True  # a lie makes no difference
    kept = np.delete(np.arange(200), [3, 77, 199])
    np.testing.assert_array_equal(decode_cloud(message).xyz, cloud.xyz[kept])
    np.testing.assert_array_equal(decode_cloud(message).rgb, cloud.rgb[kept])


def test_fields_that_change_between_two_messages_are_read_anew():
    first, second = make_message(), make_message()
    second.fields[0].name, second.fields[1].name = "y", "x"
    assert decode_cloud(first).xyz[0, 0] == decode_cloud(second).xyz[0, 1]
    second.point_step = 8
    with pytest.raises(CodecError, match="'z' within the point_step of 8, got bytes 8 to 12"):
        decode_cloud(second)


def test_one_row_needs_no_row_step():
    message = make_message()
    message.row_step = 0
    np.testing.assert_array_equal(decode_cloud(message).xyz, make_cloud().xyz)


def test_missing_fields_are_named_with_those_that_came():
    message = make_message()
    message.fields = [message.fields[0], message.fields[3]]
    with pytest.raises(CodecError, match="wanted fields x, y, z, got x, rgb: y, z missing"):
        decode_cloud(message)


def test_a_wrong_datatype_is_named_with_the_right_ones():
    message = make_message()
    message.fields[2].datatype = PointField.INT16
    wanted = "wanted FLOAT32 or FLOAT64 for field 'z', got INT16"
    with pytest.raises(CodecError, match=wanted):
        decode_cloud(message)


def test_a_field_given_twice_is_refused():
    message = make_message()
    message.fields[3].name = "x"
    with pytest.raises(CodecError, match="field 'x' once, got it twice"):
        decode_cloud(message)


def test_truncated_data_are_named_with_the_bytes_that_were_wanted():
    message = make_message()
    message.data = message.data[:-1]
    with pytest.raises(CodecError, match="wanted 80 bytes of data for 1 rows of 5, got 79"):
        decode_cloud(message)


def test_rows_that_overlap_are_refused():
    message = make_message(6)
    message.height, message.width, message.row_step = 2, 3, 47
    with pytest.raises(CodecError, match="wanted a step of at least 48 bytes, got 47"):
        decode_cloud(message)


def test_a_double_beyond_single_precision_is_no_point():
    message = PointCloud2(height=1, width=2, point_step=24, row_step=48)
    message.fields = [
        PointField(name=name, offset=8 * k, datatype=PointField.FLOAT64, count=1)
        for k, name in enumerate("xyz")
    ]
    message.data = array("B", struct.pack("<6d", 1e300, 0, 0, 1, 2, 3))
    np.testing.assert_array_equal(decode_cloud(message).xyz, [[1, 2, 3]])
