# SPDX-License-Identifier: MIT
"""Bags become demonstrations in the action space of the card, with gaps between episodes."""

import dataclasses

import numpy as np
import pytest

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import ActionSpec
from difftori_models.data import load_demos
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.tools.bag_to_demos import import_bags
from difftori_sim.cli.main import main
from tests.support.bag_files import PANDA, written

CARD = load_card(find_checkpoint("pick_cube_state"))
TURN = 0.1
"""Speed of the first joint in the bag [rad/s]."""


def card_of(kind):
    """The card with actions of that kind, as long a step and a box as wide as need be."""
    n = len(PANDA.arm_joints)
    limits = (PANDA.lower, PANDA.upper) if kind == "joint_position" else (-np.ones(n), np.ones(n))
    action = ActionSpec(
        kind=kind,
        names=(*PANDA.arm_joints, "gripper"),
        scale=(*((1.0,) * n if kind == "joint_position" else (0.05,) * n), 1.0),
        low=(*limits[0].tolist(), -1.0),
        high=(*limits[1].tolist(), 1.0),
        dt_s=0.05,
        horizon=4,
        execute=2,
    )
    return dataclasses.replace(CARD, action=action)


def collected(tmp_path, card, *bags, **options):
    out = tmp_path / "demos.npz"
    made = import_bags(bags, card, PANDA, out, **options)
    return made, load_demos(out)


@pytest.mark.parametrize("gripper", ["trajectory", "stream"])
def test_gripper_follows_its_commands_whatever_form_they_have(tmp_path, gripper):
    made, demos = collected(tmp_path, CARD, written(tmp_path / "bag", gripper=gripper))
    assert made.episodes == 1
    told = demos.actions[:, -1]
    assert set(told.tolist()) == {1.0, -1.0}
    closing = int(np.argmax(told < 0))
    assert (told[closing:] == -1.0).all()
    # the arm has turned half way when the hand is told to close, within the step that this is in
    turned = demos.position[closing, 0] - PANDA.home[0]
    assert TURN * 0.5 - TURN * 0.05 <= turned <= TURN * 0.5


def test_tip_displacements_are_those_of_the_measured_joints(tmp_path):
    _, demos = collected(tmp_path, CARD, written(tmp_path / "bag", gripper="stream"))
    kinematics = Kinematics(PANDA)
    tips = np.array([kinematics.tip_pose(q[: len(PANDA.arm_joints)])[:3] for q in demos.position])
    wanted = np.diff(tips, axis=0)[1:] / np.array(CARD.action.scale[:3])
    np.testing.assert_allclose(demos.actions[1:-1, :3], wanted, atol=1e-5)


def test_joint_displacements_are_per_step_even_when_a_step_was_shorter(tmp_path):
    card = card_of("joint_delta")
    _, demos = collected(tmp_path, card, written(tmp_path / "bag", gripper="stream"))
    # the second observation comes as early as it may, and stands for a whole step all the same
    np.testing.assert_allclose(demos.actions[:, 0], TURN * 0.05 / 0.05, atol=1e-5)
    np.testing.assert_allclose(demos.actions[:, 1:-1], 0.0, atol=1e-9)


def test_joint_positions_are_those_of_the_next_step(tmp_path):
    card = card_of("joint_position")
    _, demos = collected(tmp_path, card, written(tmp_path / "bag", gripper="stream"))
    np.testing.assert_allclose(demos.actions[:-1, 0], demos.position[1:, 0], atol=1e-6)


def test_motion_beyond_the_action_space_is_cut_and_told(tmp_path):
    card = card_of("joint_delta")
    slow = dataclasses.replace(card.action, scale=(*(0.001,) * 7, 1.0))
    card = dataclasses.replace(card, action=slow)
    made, demos = collected(tmp_path, card, written(tmp_path / "bag", gripper="stream"))
    assert made.cut == 1.0
    assert (demos.actions[:, 0] == 1.0).all()


def test_every_bag_is_an_episode_and_a_gap_begins_another(tmp_path):
    first = written(tmp_path / "first", gripper="stream")
    second = written(tmp_path / "second", gripper="stream", pause_at=60)
    made, demos = collected(tmp_path, CARD, first, second)
    assert made.episodes == 3
    assert np.unique(demos.episode).tolist() == [0, 1, 2]
    assert demos.meta.task == CARD.task
    assert demos.meta.observation == CARD.observation


def test_streams_that_were_too_old_are_counted(tmp_path):
    values = values_of("policy_node", POLICY) | {"pose_max_age_s": 0.02}
    bag = written(tmp_path / "bag", gripper="stream")
    made, _ = collected(tmp_path, CARD, bag, values=values)
    assert made.refusals["STALE"] > 0


def test_command_that_made_the_file_stands_in_it_and_makes_it_again(tmp_path):
    bag, first, again = written(tmp_path / "bag", gripper="stream"), "first.npz", "again.npz"
    words = ["demos", "import", "bag", str(bag), "--checkpoint", "pick_cube_state"]
    assert main([*words, "--out", str(tmp_path / first)]) == 0
    demos = load_demos(tmp_path / first)
    program, *command = demos.meta.command.split()
    assert program == "difftori"
    assert main([*command, "--out", str(tmp_path / again)]) == 0
    assert load_demos(tmp_path / again).sha256 == demos.sha256


def test_a_file_of_demonstrations_is_shown_with_the_command_that_made_it(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "demos.npz"
    bag = written(tmp_path / "bag", gripper="stream")
    words = ["demos", "import", "bag", str(bag), "--checkpoint", "pick_cube_state"]
    assert main([*words, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["demos", "show", str(out)]) == 0
    text, demos = " ".join(capsys.readouterr().out.split()), load_demos(out)
    made_by = "difftori demos import bag"
    for part in (f"{len(demos)} steps", demos.meta.task, demos.sha256, made_by):
        assert part in text
