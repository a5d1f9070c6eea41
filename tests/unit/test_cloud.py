# SPDX-License-Identifier: MIT
"""A cloud becomes exactly the points that the checkpoint asks for, the same ones every time."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftori_models.contract.specs import PointSpec
from difftori_ros.observation.point_cloud import CloudError, farthest_points, process_cloud
from difftori_ros.rigid import pose_to_matrix
from difftori_ros.types import Cloud, Reason

SPEC = PointSpec("base", 128, True, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPEC_OF_FEW = replace(SPEC, min_points=1)
EYE = np.eye(4)
quick = settings(deadline=None, max_examples=40)


def make_cloud(n: int, seed: int = 0, scale: float = 1.0) -> Cloud:
    """Points all over a cube of side `scale` from the origin."""
    rng = np.random.default_rng(seed)
    xyz = rng.random((n, 3)).astype(np.float32) * np.float32(scale)
    rgb = rng.integers(0, 256, (n, 3)).astype(np.float32) / np.float32(255)
    return Cloud(1, "camera", xyz, rgb)


def shuffled(cloud: Cloud, seed: int) -> Cloud:
    order = np.random.default_rng(seed).permutation(len(cloud.xyz))
    assert cloud.rgb is not None
    return replace(cloud, xyz=cloud.xyz[order], rgb=cloud.rgb[order])


def rows(points: np.ndarray) -> set[tuple[float, ...]]:
    return set(map(tuple, points.tolist()))


@quick
@given(st.integers(32, 3000), st.integers(0, 5), st.booleans())
def test_the_result_has_exactly_the_asked_shape_and_only_points_that_were_there(n, seed, color):
    cloud = make_cloud(n, seed)
    points = process_cloud(cloud, EYE, replace(SPEC, color=color))
    assert points.shape == (128, 6 if color else 3)
    assert points.dtype == np.float32
    assert cloud.rgb is not None
    there = np.concatenate([cloud.xyz, cloud.rgb], axis=1) if color else cloud.xyz
    assert rows(points) <= rows(there)
    assert len(rows(points)) == min(n, 128)


@quick
@given(st.sampled_from([80, 250, 1000, 1500, 5000]), st.integers(0, 3), st.integers(0, 99))
def test_the_order_of_the_points_makes_no_difference_to_any_bit(n, seed, order):
    cloud = make_cloud(n, seed)
    transform = pose_to_matrix(np.array([0.1, -0.2, 0.05, 0.0, 0.0, np.sin(0.2), np.cos(0.2)]))
    first = process_cloud(cloud, transform, SPEC)
    second = process_cloud(shuffled(cloud, order), transform, SPEC)
    assert first.tobytes() == second.tobytes()


def test_points_at_one_place_with_different_colors_are_told_apart_in_any_order():
    cloud = make_cloud(300)
    cloud = replace(cloud, xyz=np.full((300, 3), 0.5, dtype=np.float32))
    first = process_cloud(cloud, EYE, SPEC)
    assert first.tobytes() == process_cloud(shuffled(cloud, 1), EYE, SPEC).tobytes()
    assert len(rows(first)) == 128


def test_the_transform_is_applied_before_the_crop():
    # a camera 1 m above the base, looking straight down: x forward stays, y and z are turned over
    transform = pose_to_matrix(np.array([0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    cloud = replace(make_cloud(500), rgb=None)
    points = process_cloud(cloud, transform, replace(SPEC, color=False, count=500))
    expected = cloud.xyz * np.float32([1, -1, -1]) + np.float32([0, 1, 1])
    np.testing.assert_allclose(
        points[np.lexsort(points.T)], expected[np.lexsort(expected.T)], atol=1e-6
    )


def test_points_on_the_faces_of_the_box_stay_and_points_beyond_go():
    inside = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 1]]
    outside = [[0.5, 0.5, 1.0001], [-1e-4, 0, 0], [0, 2, 0]]
    cloud = Cloud(1, "camera", np.array(inside + outside, dtype=np.float32), None)
    spec = replace(SPEC, color=False, count=3, min_points=1)
    assert rows(process_cloud(cloud, EYE, spec)) == rows(np.array(inside))


def test_too_few_points_are_repeated_in_turn():
    points = process_cloud(make_cloud(50), EYE, SPEC)
    np.testing.assert_array_equal(points[50:100], points[:50])
    np.testing.assert_array_equal(points[100:], points[:28])


@pytest.mark.parametrize("found", [0, 31])
def test_fewer_points_than_the_least_are_refused_with_both_counts(found):
    cloud = make_cloud(100)
    cloud.xyz[found:] += 5
    with pytest.raises(
        CloudError, match=f"at least 32 points .* 'base', got {found} of 100"
    ) as it:
        process_cloud(cloud, EYE, SPEC)
    assert it.value.reason is Reason.TOO_FEW_POINTS


def test_an_empty_cloud_is_refused_even_when_no_least_is_set():
    empty = Cloud(1, "camera", np.empty((0, 3), np.float32), None)
    with pytest.raises(CloudError) as caught:
        process_cloud(empty, EYE, replace(SPEC, color=False, min_points=0))
    assert caught.value.reason is Reason.TOO_FEW_POINTS


@quick
@given(st.integers(0, 5), st.sampled_from([0.0, 0.01, 0.05]), st.integers(0, 99))
def test_outliers_are_the_points_with_fewer_than_two_others_near(seed, share, order):
    rng = np.random.default_rng(seed)
    surface = 0.4 + 0.1 * rng.random((600, 3)) * (1, 1, 0)
    astray = rng.random((round(600 * share), 3))
    xyz = np.concatenate([surface, astray]).astype(np.float32)
    cloud = Cloud(1, "camera", xyz, rng.random(xyz.shape).astype(np.float32))
    spec = replace(SPEC, count=1000, outlier_radius_m=0.015, color=False)
    apart = np.linalg.norm(xyz[:, None].astype(np.float64) - xyz, axis=2)
    wanted = xyz[(apart <= 0.015).sum(axis=1) > 2]
    assert rows(process_cloud(cloud, EYE, spec)) == rows(wanted)
    few = replace(spec, count=100, color=True)
    first, second = (process_cloud(c, EYE, few) for c in (cloud, shuffled(cloud, order)))
    np.testing.assert_array_equal(first, second)


def test_a_cloud_whose_points_are_all_alone_stays_as_it_is():
    few = make_cloud(2)
    spec = replace(SPEC, min_points=1, outlier_radius_m=0.04)
    assert rows(process_cloud(few, EYE, spec)) == rows(process_cloud(few, EYE, SPEC_OF_FEW))


def test_a_cloud_without_the_color_that_is_wanted_is_refused_by_its_fields():
    cloud = replace(make_cloud(100), rgb=None)
    with pytest.raises(CloudError, match="wanted a cloud with fields x, y, z and rgb") as caught:
        process_cloud(cloud, EYE, SPEC)
    assert caught.value.reason is Reason.BAD_MESSAGE


def test_absurdly_far_points_are_outside():
    cloud = make_cloud(100)
    cloud.xyz[:50] = np.float32(3e38)
    transform = pose_to_matrix(np.array([0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5]))
    assert np.isfinite(process_cloud(cloud, transform, SPEC)).all()


@pytest.mark.parametrize("wrong", [np.eye(3), np.full((4, 4), np.nan)])
def test_a_transform_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="finite transform"):
        process_cloud(make_cloud(100), wrong, SPEC)


def ascending(cloud: Cloud) -> np.ndarray:
    return cloud.xyz[np.argsort(cloud.xyz[:, 0])]


def test_each_point_is_the_farthest_from_those_before_it():
    xyz = ascending(make_cloud(200))
    chosen = farthest_points(xyz.T, 60)
    exact = xyz.astype(np.float64)
    centroid = exact.mean(axis=0)
    assert chosen[0] == np.linalg.norm(exact - centroid, axis=1).argmin()
    for k in range(1, 60):
        gaps = np.linalg.norm(exact[:, None] - exact[chosen[:k]][None], axis=2).min(axis=1)
        assert gaps[chosen[k]] == pytest.approx(gaps.max(), rel=1e-6)


def test_no_point_is_chosen_twice_even_when_all_are_equal():
    chosen = farthest_points(np.ones((3, 20), dtype=np.float32), 20)
    assert sorted(chosen) == list(range(20))


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.001])
def test_a_dense_cloud_is_covered_as_well_as_by_farthest_points_alone(scale):
    """However crowded: the largest hole grows by less than half."""
    cloud = replace(make_cloud(20_000, scale=scale), rgb=None)
    cloud.xyz[:, 2] *= np.float32(0.01)  # a surface, as cameras see
    points = process_cloud(cloud, EYE, replace(SPEC, color=False))
    assert len(rows(points)) == 128
    best = ascending(cloud)[farthest_points(ascending(cloud).T, 128)]

    def hole(some: np.ndarray) -> float:
        probe = cloud.xyz[::20]
        return float(np.linalg.norm(probe[:, None] - some[None], axis=2).min(axis=1).max())

    assert hole(points) < 1.5 * hole(best)


def by_the_book(cloud: Cloud, transform: np.ndarray, spec: PointSpec) -> np.ndarray:
    """The same without any of the shortcuts: what checkpoints were trained on."""
    m = transform.astype(np.float32)
    x, y, z = np.ascontiguousarray(cloud.xyz.T)
    xyz = np.stack([x * a + y * b + z * c + d for a, b, c, d in m[:3]], axis=1)
    low, high = np.array([spec.crop_min, spec.crop_max], dtype=np.float32)
    inside = ((xyz >= low) & (xyz <= high)).all(axis=1)
    assert cloud.rgb is not None
    rgb = cloud.rgb.astype(np.float32)
    points = np.hstack([xyz, rgb / 255 if cloud.rgb.dtype == np.uint8 else rgb])[inside]
    points = points[nearest_to_cell_centers(points[:, :3], spec)]
    points = points[np.lexsort(points.T[::-1])]
    if len(points) <= spec.count:
        return points[np.arange(spec.count) % len(points)]
    center = points[:, :3].astype(np.float64).mean(axis=0)
    chosen = [int(((points[:, :3] - center) ** 2).sum(axis=1).argmin())]
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    for _ in range(spec.count - 1):
        nearest[chosen[-1]] = -1
        gap = points[:, :3] - points[chosen[-1], :3]
        gap *= gap
        nearest = np.minimum(nearest, gap[:, 0] + gap[:, 1] + gap[:, 2])
        chosen.append(int(nearest.argmax()))
    return points[chosen]


def nearest_to_cell_centers(xyz: np.ndarray, spec: PointSpec) -> np.ndarray:
    if len(xyz) <= 8 * spec.count:
        return np.ones(len(xyz), dtype=bool)
    low, high = np.array([spec.crop_min, spec.crop_max])
    target = 4 * spec.count
    _, middle, longest = np.sort(high - low)
    edge = max(np.sqrt(middle * longest / target), longest / target)
    for division in (1, 2, 4):
        scaled = (xyz - low.astype(np.float32)) / np.float32(edge / division)
        cells = np.floor(scaled)
        offset = scaled - cells - np.float32(0.5)
        distance = offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2
        least: dict[tuple, float] = {}
        keys = [tuple(cell) for cell in cells.tolist()]
        for key, value in zip(keys, distance.tolist(), strict=True):
            least[key] = min(value, least.get(key, np.inf))
        keep = np.array([least[key] for key in keys], dtype=np.float32) == distance
        if keep.sum() >= target // 2:
            return keep
    return np.ones(len(xyz), dtype=bool)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", ["box", "wall", "grid", "crowd", "one place"])
@pytest.mark.parametrize("n", [90, 1000, 9000])
def test_every_shortcut_gives_the_bits_that_the_long_way_gives(n, shape, kind):
    cloud, rng = make_cloud(n), np.random.default_rng(1)
    xyz = {
        "box": cloud.xyz,
        "wall": cloud.xyz * np.float32([0, 1, 1]) + np.float32([0.5, 0, 0]),
        "grid": np.round(cloud.xyz * 12) / 12,
        "crowd": cloud.xyz * np.float32(0.02),
        "one place": np.full_like(cloud.xyz, 0.25),
    }[shape].astype(np.float32)
    bytes_ = rng.integers(0, 256, (n, 3)).astype(np.uint8)
    cloud = Cloud(1, "camera", xyz, bytes_ if kind is np.uint8 else bytes_ / np.float32(255))
    turned = pose_to_matrix(np.array([0.1, 0.0, 0.05, 0.0, 0.0, np.sin(0.1), np.cos(0.1)]))
    for transform in (EYE, turned):
        expected = by_the_book(cloud, transform, SPEC)
        assert process_cloud(cloud, transform, SPEC).tobytes() == expected.tobytes()


def test_points_of_any_memory_layout_give_the_same_bits():
    cloud = make_cloud(5000)
    assert cloud.rgb is not None
    wide = np.zeros((5000, 7), dtype=np.float32)
    wide[:, 2:5] = cloud.xyz
    bytes_ = np.rint(cloud.rgb * 255).astype(np.uint8)
    expected = process_cloud(cloud, EYE, SPEC).tobytes()
    for xyz in (wide[:, 2:5], np.asfortranarray(cloud.xyz)):
        for rgb in (cloud.rgb, bytes_, np.asfortranarray(bytes_)):
            assert process_cloud(Cloud(1, "camera", xyz, rgb), EYE, SPEC).tobytes() == expected


def test_another_process_gives_the_same_bits():
    code = (
        "import numpy as np, hashlib;from difftori_models.contract.specs import PointSpec;"
        "from difftori_ros.observation.point_cloud import process_cloud;"
        "from difftori_ros.types import Cloud;"
        "r=np.random.default_rng(3);x=r.random((2000,3)).astype(np.float32);"
        "s=PointSpec('base',512,True,(0.,0.,0.),(1.,1.,1.));"
        "print(hashlib.sha256(process_cloud(Cloud(1,'c',x,x[::-1]),np.eye(4),s)).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert len(runs[0].stdout.strip()) == 64
    assert runs[0].stdout == runs[1].stdout
