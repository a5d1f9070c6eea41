# SPDX-License-Identifier: MIT
"""Tasks are complete and agree with the robot; seeds keep training, choosing and testing apart."""

from dataclasses import replace

import numpy as np
import pytest

from difftori_models.contract.features import state_size
from difftori_models.contract.specs import Card, Observation, ObservationSpec
from difftori_ros.config.paths import config_dir
from difftori_ros.policy.compatibility import check_card
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm import tasks
from difftori_sim.arm.experts import EXPERTS, expert
from difftori_sim.arm.tasks import (
    TEST_SEEDS,
    TRAIN_SEEDS,
    VALIDATION_SEEDS,
    Task,
    available_tasks,
    find_task,
)
from difftori_sim.demonstrations.record import expert_card
from difftori_sim.evaluation.direct import seed_range

PANDA = load_profile("panda")
TASKS = [find_task(name) for name in available_tasks()]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def specs(task: Task) -> list[ObservationSpec]:
    return [task.state, *([task.points] if task.points else [])]


def test_all_tasks_ship():
    assert available_tasks() == [
        *("pick_cube", "place_sphere", "poke_cube", "pull_cube", "push_cube", "roll_ball"),
        *("stack_cube", "stack_cube_wrist"),
    ]


@every_task
def test_task_file_is_named_after_its_task(task):
    assert (config_dir() / "tasks" / f"{task.name}.yaml").is_file()


@every_task
def test_task_fits_the_robot(task):
    for spec in specs(task):
        card = expert_card(task, "state", "panda")
        check_card(replace(card, observation=spec), PANDA)
        assert isinstance(card, Card)


@every_task
def test_every_pose_and_feature_that_is_asked_for_is_published(task):
    for spec in specs(task):
        assert set(spec.poses) <= set(task.poses)
        assert state_size(spec) > 0


@every_task
def test_action_box_has_one_entry_per_name_and_holds_standing_still(task):
    action = task.action
    for values in (action.scale, action.low, action.high):
        assert len(values) == len(action.names)
    assert all(low <= 0.0 <= high for low, high in zip(action.low, action.high, strict=True))
    assert 1 <= action.execute <= action.horizon
    assert np.linalg.norm(action.tip_orientation) == pytest.approx(1.0)


@every_task
def test_every_task_has_an_expert(task):
    assert task.name in EXPERTS


def test_unknown_task_is_refused_beside_the_known_ones():
    with pytest.raises(ValueError, match="unknown task 'fold'; known: pick_cube, place_sphere"):
        find_task("fold")


def test_name_that_is_a_path_is_no_task():
    with pytest.raises(ValueError, match="unknown task"):
        find_task("../policy")


def test_defective_task_file_is_named_with_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    path = tmp_path / "tasks" / "odd.yaml"
    monkeypatch.setattr(tasks, "config_dir", lambda: tmp_path)
    good = (config_dir() / "tasks" / "push_cube.yaml").read_text()
    for text, complaint in (
        (good.replace("max_steps: 100", ""), "max_steps"),
        (good.replace("max_steps: 100", "max_steps: many"), "max_steps"),
        ("- [", "odd.yaml"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint) as caught:
            find_task("odd")
        assert str(path) in str(caught.value)


def test_variant_that_a_task_lacks_is_refused_beside_those_it_has():
    assert find_task("pick_cube").observation("points").points is not None
    with pytest.raises(ValueError, match="'push_cube' has no variant 'points'; it has state"):
        find_task("push_cube").observation("points")


def test_no_seed_is_for_two_uses():
    ranges = (TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS)
    for k, one in enumerate(ranges):
        for other in ranges[k + 1 :]:
            assert one.stop <= other.start or other.stop <= one.start


@pytest.mark.parametrize(
    ("first", "episodes", "name"),
    [
        (0, 100_000, "training"),
        (100_000, 1, "validation"),
        (199_999, 1, "validation"),
        (200_000, 50, "test"),
    ],
)
def test_range_of_seeds_is_known_by_name(first, episodes, name):
    assert seed_range(first, episodes) == name


@pytest.mark.parametrize(("first", "episodes"), [(-1, 5), (99_999, 2), (299_999, 2), (10**6, 1)])
def test_seeds_of_two_ranges_or_none_are_refused_with_the_ranges(first, episodes):
    with pytest.raises(ValueError, match="not in one range") as caught:
        seed_range(first, episodes)
    assert "validation 100000 to 199999" in str(caught.value)


def scene(tip, cube, goal, finger=0.04) -> Observation:
    def pose(xyz):
        return np.array([*xyz, 0.0, 0.0, 0.0, 1.0])

    poses = {"tip": pose(tip), "object": pose(cube), "goal": pose(goal)}
    position = np.append(PANDA.home, finger)
    return Observation(1, PANDA.joint_names, position, np.zeros(8), poses)


@every_task
def test_expert_knows_nothing_but_the_present(task):
    rng = np.random.default_rng(0)
    rule = expert(task.name)
    scenes = [scene(*rng.uniform([0.4, -0.2, 0.0], [0.8, 0.2, 0.3], (3, 3))) for _ in range(5)]
    forward = [rule(seen, task.action) for seen in scenes]
    backward = [expert(task.name)(seen, task.action) for seen in reversed(scenes)][::-1]
    np.testing.assert_array_equal(forward, backward)


@every_task
def test_expert_stays_inside_the_action_box(task):
    rng = np.random.default_rng(1)
    action = task.action
    for _ in range(200):
        tip, cube, goal = rng.uniform([0.3, -0.4, 0.0], [0.9, 0.4, 0.5], (3, 3))
        chunk = expert(task.name)(scene(tip, cube, goal, rng.uniform(0.0, 0.04)), action)
        assert chunk.shape == (action.horizon, len(action.names))
        assert (chunk >= action.low).all()
        assert (chunk <= action.high).all()


def test_task_without_an_expert_is_refused_beside_those_that_have_one():
    with pytest.raises(ValueError, match="no scripted expert for 'fold'"):
        expert("fold")
