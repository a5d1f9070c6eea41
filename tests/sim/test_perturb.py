# SPDX-License-Identifier: MIT
"""A perturbed camera is wrong in the respect that is named, and in no other."""

import contextlib
from functools import partial

import numpy as np
import pytest

from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.camera_perturbation import PERTURBATIONS, Perturbation, PerturbedWorld
from difftori_sim.arm.tasks import find_task

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(300)]
SEED = 100_000
MS = 1_000_000


@pytest.fixture(scope="module")
def world():
    make = partial(PerturbedWorld, find_task("stack_cube_wrist"), load_profile("panda"))
    with contextlib.closing(make(Perturbation("nothing"))) as made:
        yield made


def seen(world: PerturbedWorld, perturbation: Perturbation):
    """What the cameras show at the start of the episode."""
    world.perturbation = perturbation
    world.reset(SEED)
    return world.sense()


def test_cameras_of_table_and_hand_show_their_cubes(world):
    pictures, cloud = seen(world, PERTURBATIONS["none"])
    assert set(pictures) == {"camera", "wrist_camera"}
    assert cloud.stamp_ns == world.now_ns
    for rgb in pictures.values():
        coloured = rgb.max(axis=2).astype(int) - rgb.min(axis=2)
        assert (coloured > 200).sum() > 10, "the pure red and green of the cubes"


def test_late_cameras_show_what_was_and_say_when(world):
    first, _ = seen(world, PERTURBATIONS["delayed"])
    began = world.now_ns
    for _ in range(2):
        world.advance(0.05)
        pictures, cloud = world.sense()
    assert cloud.stamp_ns == began == world.now_ns - 100 * MS
    for name, rgb in first.items():
        np.testing.assert_array_equal(pictures[name], rgb)


def test_colours_of_all_cameras_and_of_the_cloud_are_off_by_the_same_factors(world):
    wrong, cloud = seen(world, PERTURBATIONS["colour"])
    right, true_cloud = seen(world, PERTURBATIONS["none"])
    dark = {name: rgb.max(axis=2) < 180 for name, rgb in right.items()}  # none of these saturates
    gains = []
    for name, rgb in right.items():
        pairs = [(wrong[name][dark[name]][:, k], rgb[dark[name]][:, k]) for k in range(3)]
        gains.append([a.astype(float).sum() / b.astype(float).sum() for a, b in pairs])
    np.testing.assert_allclose(gains[0], gains[1], atol=0.02)
    assert 0.02 < np.abs(np.array(gains) - 1).max() <= 0.3
    np.testing.assert_array_equal(cloud.xyz, true_cloud.xyz)
    assert np.abs(cloud.rgb - true_cloud.rgb).max() > 0.02


def test_moved_camera_is_said_to_stand_where_it_stood(world):
    true, (right, _) = world.camera().base_from_camera, seen(world, PERTURBATIONS["none"])
    moved, _ = seen(world, PERTURBATIONS["moved"])
    np.testing.assert_array_equal(world.camera().base_from_camera, true)
    assert (moved["camera"] != right["camera"]).mean() > 0.1
    np.testing.assert_array_equal(moved["wrist_camera"], right["wrist_camera"])


def test_points_are_missing_and_astray_in_the_share_that_is_named(world):
    _, right = seen(world, PERTURBATIONS["none"])
    _, fewer = seen(world, PERTURBATIONS["dropped"])
    _, astray = seen(world, PERTURBATIONS["outliers"])
    assert len(fewer.xyz) / len(right.xyz) == pytest.approx(0.9, abs=0.02)
    off = np.abs(astray.xyz - right.xyz).max(axis=1)
    assert (off > 0).mean() == pytest.approx(0.05, abs=0.01)
    assert off.max() < 0.3 + 1e-6
