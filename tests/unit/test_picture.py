# SPDX-License-Identifier: MIT
"""Pictures of an episode show the planned path where it is, and can be played."""

import subprocess

import imageio.v2 as imageio
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from difftori_sim.cli.picture import NEAR_COLOR, PATH_COLOR, draw_path, write_strip, write_video

SIZE = 128
# a camera at the origin that looks along z, 100 px focal length
PROJECTION = np.hstack(
    [np.array([[100.0, 0.0, 64.0], [0.0, 100.0, 64.0], [0.0, 0.0, 1.0]]), np.zeros((3, 1))]
)


def grey(value=60, size=SIZE) -> np.ndarray:
    return np.full((size, size, 3), value, dtype=np.uint8)


def test_path_is_drawn_where_the_camera_sees_it():
    path = np.array([[-0.3, 0.0, 1.0], [0.0, 0.0, 1.0], [0.3, 0.2, 1.0]])
    drawn = draw_path(grey(), path, PROJECTION)
    assert tuple(drawn[64, 34]) == NEAR_COLOR, "the first dot"
    assert tuple(drawn[64, 64]) == PATH_COLOR
    assert tuple(drawn[84, 94]) == PATH_COLOR
    assert tuple(drawn[64, 50]) == PATH_COLOR, "the line between the dots"
    changed = (drawn != 60).any(axis=2)
    assert 0 < changed.sum() < 600
    assert not changed[:60].any()


def test_picture_given_is_not_changed():
    frame = grey()
    draw_path(frame, np.array([[0.0, 0.0, 1.0]]), PROJECTION)
    np.testing.assert_array_equal(frame, grey())


def test_empty_path_leaves_the_picture_as_it_is():
    np.testing.assert_array_equal(draw_path(grey(), np.zeros((0, 3)), PROJECTION), grey())


@pytest.mark.parametrize("z", [0.0, -1.0])
def test_points_beside_or_behind_the_camera_are_not_drawn(z):
    path = np.array([[0.0, 0.0, z], [0.1, 0.0, z]])
    np.testing.assert_array_equal(draw_path(grey(), path, PROJECTION), grey())


def test_video_has_every_frame_in_order(tmp_path):
    path = tmp_path / "made" / "episode.mp4"
    write_video(path, [grey(value) for value in (30, 90, 150, 210)], 20.0)
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True)
    assert b"Video: h264" in played.stderr
    assert b" 20 fps" in played.stderr
    frames = np.frombuffer(played.stdout, dtype=np.uint8).reshape(-1, SIZE, SIZE, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [30, 90, 150, 210], atol=6)


@pytest.mark.parametrize(
    ("frames", "shown"), [(1, [0]), (4, [0, 1, 2, 3]), (11, [0, 2, 4, 6, 8, 10])]
)
def test_strip_shows_the_episode_from_first_to_last(tmp_path, frames, shown):
    path = tmp_path / "made" / "episode.png"
    write_strip(path, [grey(10 * k, 16) for k in range(frames)])
    strip = imageio.imread(path)
    assert strip.shape == (16, 16 * len(shown), 3)
    assert [int(strip[8, 16 * k + 8, 0]) for k in range(len(shown))] == [10 * k for k in shown]
