# SPDX-License-Identifier: MIT
"""Demonstrations survive the file, become the right labels, and are refused when broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from difftori_models.contract.features import policy_images, policy_points, state_vector
from difftori_models.contract.specs import Observation
from difftori_models.data import (
    DemoEpisode,
    Demos,
    DemosError,
    Meta,
    action_chunks,
    camera_images,
    earlier_steps,
    load_demos,
    point_clouds,
    split_episodes,
    state_vectors,
    write_demos,
)
from tests.support.reach_task import ACTION, CAMERAS, JOINTS, make_demos, observation_spec


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_demos(tmp_path / "reach.npz", 4, points=16)
    return tmp_path / "reach.npz"


def rewrite(path: Path, **changes: np.ndarray | None) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: rows for name, rows in arrays.items() if rows is not None})


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    written = make_demos(tmp_path / "reach.npz", 3, points=16)
    read = load_demos(tmp_path / "reach.npz")
    assert read.meta == written.meta
    for name in ("episode", "seed", "position", "velocity", "actions", "points"):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    assert len(read.sha256) == 64


def test_training_sees_bit_for_bit_what_deployment_sees(path: Path) -> None:
    demos = load_demos(path)
    spec, states, clouds = demos.meta.observation, state_vectors(demos), point_clouds(demos)
    assert clouds is not None
    for step in (0, 7, len(demos) - 1):
        observation = demos.observation(step)
        assert np.array_equal(states[step], state_vector(observation, spec))
        assert np.array_equal(clouds[step], policy_points(observation, spec))


def test_a_chunk_holds_the_next_actions_and_rest_after_the_episode(path: Path) -> None:
    demos = load_demos(path)
    chunks = action_chunks(demos)
    assert chunks.shape == (80, ACTION.horizon, 4)
    assert np.array_equal(chunks[3], demos.actions[3:7])
    assert np.array_equal(chunks[18][:2], demos.actions[18:20]), "steps of episode 0 are 0..19"
    for rest in chunks[18][2:]:
        assert np.array_equal(rest, [0.0, 0.0, 0.0, demos.actions[19, 3]])
    assert np.array_equal(chunks[20], demos.actions[20:24])


def test_the_split_keeps_episodes_whole_and_uses_each_step_once(path: Path) -> None:
    demos = load_demos(path)
    training, validation = split_episodes(demos, 0.25, seed=3)
    assert sorted([*training, *validation]) == list(range(80))
    assert not set(demos.episode[training]) & set(demos.episode[validation])
    assert len(validation) == 20
    assert np.array_equal(split_episodes(demos, 0.25, seed=3)[1], validation)
    with pytest.raises(DemosError, match="cannot keep 4 of 4"):
        split_episodes(demos, 0.99, seed=0)


def test_a_late_cloud_is_that_of_an_earlier_step_of_the_episode(path: Path) -> None:
    demos = load_demos(path)
    earlier = earlier_steps(demos, 3)
    assert earlier[:6].tolist() == [0, 0, 0, 0, 1, 2]
    assert earlier[20:25].tolist() == [20, 20, 20, 20, 21], "an episode begins with its own"
    late = demos.observation(30, int(earlier[30]))
    assert late.points is not None
    assert demos.points is not None
    np.testing.assert_array_equal(late.points, demos.points[27])
    np.testing.assert_array_equal(late.poses["tip@points"], demos.poses["tip"][27])
    np.testing.assert_array_equal(late.poses["tip"], demos.poses["tip"][30])
    np.testing.assert_array_equal(late.position, demos.position[30])


def test_a_missing_array_is_named_with_what_the_file_has(path: Path) -> None:
    rewrite(path, actions=None)
    with pytest.raises(DemosError, match=r"missing actions; the file has episode, meta"):
        load_demos(path)


def test_a_missing_pose_is_named(path: Path) -> None:
    rewrite(path, pose_goal=None)
    with pytest.raises(DemosError, match=r"missing pose_goal; arrays there: .*pose_tip"):
        load_demos(path)


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("velocity", np.zeros((79, 3)), r"velocity must have shape \(80, 3\), got \(79, 3\)"),
        ("actions", np.zeros((80, 4)), "actions must be float32, got float64"),
        ("actions", np.full((80, 4), 1.5, np.float32), "leave the box .* x, y, z, gripper"),
        ("pose_tip", np.full((80, 7), np.nan), "pose_tip is not finite at step 0"),
        ("episode", np.arange(80, dtype=np.int32)[::-1].copy(), "must not decrease"),
        ("meta", np.array("{}"), "meta: missing task"),
        ("meta", np.array("{"), "not JSON"),
        ("points", None, "missing points; arrays there: actions, episode, pose_goal"),
    ],
)
def test_an_array_that_does_not_fit_is_named(
    path: Path, name: str, rows: np.ndarray | None, words: str
) -> None:
    rewrite(path, **{name: rows})
    with pytest.raises(DemosError, match=words):
        load_demos(path)


def test_files_that_are_no_demonstrations_are_refused(path: Path) -> None:
    with pytest.raises(DemosError, match=r"no demonstration file .*there: reach\.npz"):
        load_demos(path.with_name("other.npz"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DemosError, match=r"not an \.npz file"):
        load_demos(path)
    np.savez(path, episode=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DemosError, match=r"not an \.npz file of plain arrays"):
        load_demos(path)


def test_demonstrations_that_would_be_refused_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "reach.npz"
    demos = make_demos(path, 2)
    before = path.read_bytes()
    position = demos.position.copy()
    position[5] = np.inf
    with pytest.raises(DemosError, match="position is not finite at step 5"):
        write_demos(path, replace(demos, position=position))
    assert path.read_bytes() == before


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    make_demos(tmp_path / "pictures.npz", 3, images=True)
    return tmp_path / "pictures.npz"


def test_images_are_kept_as_bytes_and_seen_in_training_as_in_deployment(pictures: Path) -> None:
    demos = load_demos(pictures)
    spec = demos.meta.observation
    assert list(spec.images) == list(CAMERAS)
    for step in (0, 30, len(demos) - 1):
        seen = policy_images(demos.observation(step), spec)
        for trained, live, want in zip(camera_images(demos), seen, CAMERAS.values(), strict=True):
            assert trained.dtype == live.dtype == np.uint8
            assert live.shape == (want.height, want.width, 3)
            assert np.array_equal(trained[step], live)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_wrist": None}, "missing image_wrist; arrays there: .*image_camera"),
        ({"image_roof": np.zeros((60, 8, 8, 3), np.uint8)}, "unknown image_roof; arrays there"),
        ({"image_wrist": np.zeros((60, 16, 16, 3))}, "image_wrist must be uint8, got float64"),
        (
            {"image_wrist": np.zeros((60, 16, 15, 3), np.uint8)},
            r"image_wrist must have shape \(60, 16, 16, 3\), got \(60, 16, 15, 3\)",
        ),
    ],
)
def test_images_that_do_not_fit_the_spec_are_named(pictures: Path, changes, words) -> None:
    rewrite(pictures, **changes)
    with pytest.raises(DemosError, match=words):
        load_demos(pictures)


def test_a_file_that_says_nothing_of_images_has_none(path: Path) -> None:
    with np.load(path) as file:
        meta = json.loads(str(file["meta"]))
    del meta["observation"]["images"]
    rewrite(path, meta=np.array(json.dumps(meta)))
    demos = load_demos(path)
    assert demos.meta.observation.images == {}
    assert camera_images(demos) == ()


def seen(steps: int, **changes: object) -> list[Observation]:
    """What is seen in the steps of an episode, with one pose and no camera."""
    pose = {"tip": np.zeros(7), "goal": np.ones(7)}
    alone = Observation(0, JOINTS, np.zeros(3), np.zeros(3), pose)
    return [replace(alone, position=np.full(3, float(k)), **changes) for k in range(steps)]


META = Meta("Reach-v0", "toy", 0.0, observation_spec(), ACTION, "made here")


def test_episodes_become_steps_one_after_the_other() -> None:
    episodes = [
        DemoEpisode(7, seen(2), np.full((2, 4), 0.5)),
        DemoEpisode(9, seen(3), [np.zeros(4)] * 3),
    ]
    demos = Demos.from_episodes(META, episodes)
    assert demos.episode.tolist() == [0, 0, 1, 1, 1]
    assert demos.seed.tolist() == [7, 7, 9, 9, 9]
    assert demos.position[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 2.0]
    assert demos.actions[:, 0].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    assert demos.actions.dtype == np.float32
    assert sorted(demos.poses) == ["goal", "tip"]
    assert demos.points is None


@pytest.mark.parametrize(
    ("episodes", "words"),
    [
        ([], "there is no step in these episodes"),
        ([DemoEpisode(0, [], [])], "there is no step in these episodes"),
        ([DemoEpisode(0, seen(2), np.zeros((3, 4)))], "episode 0 has 2 observations and 3"),
        ([DemoEpisode(0, seen(1, poses={"tip": np.zeros(7)}), np.zeros((1, 4)))], "pose_goal"),
        (
            [
                DemoEpisode(0, seen(1), np.zeros((1, 4))),
                DemoEpisode(0, seen(1, poses={"tip": np.zeros(7)}), np.zeros((1, 4))),
            ],
            "observation of step 1 lacks goal among its poses: tip",
        ),
        ([DemoEpisode(0, seen(1), np.full((1, 4), 2.0))], "actions leave the box"),
    ],
)
def test_episodes_that_do_not_fit_are_named(episodes: list[DemoEpisode], words: str) -> None:
    with pytest.raises(DemosError, match=words):
        Demos.from_episodes(META, episodes)


def test_a_cloud_or_an_image_that_is_missing_is_named() -> None:
    for spec, words in (
        (observation_spec(points=8), "the observation of step 0 has no points"),
        (observation_spec(images=True), "step 0 lacks camera, wrist among its images: none"),
    ):
        with pytest.raises(DemosError, match=words):
            Demos.from_episodes(
                replace(META, observation=spec), [DemoEpisode(0, seen(1), np.zeros((1, 4)))]
            )
