# SPDX-License-Identifier: MIT
"""The profiles that ship describe their robots; a defective one is refused in a sentence."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest
import yaml

from difftori_ros.config.paths import config_dir
from difftori_ros.robot.profile import ProfileError, available_robots, load_profile

BUNDLED = {
    "panda": ("panda/panda_v2.urdf", "panda_hand_tcp"),
    "xarm7": ("xarm7/xarm7.urdf", "link_eef"),
}


def bundled_model(robot: str) -> pin.Model:
    """The simulator's own model of the robot, found without importing the simulator."""
    spec = find_spec("mani_skill")
    if spec is None or spec.origin is None:
        pytest.skip("ManiSkill is not installed")
    path = Path(spec.origin).parent / "assets" / "robots" / BUNDLED[robot][0]
    return pin.buildModelFromUrdf(str(path))


def tip_pose(model: pin.Model, names, position, base: str, tip: str) -> pin.SE3:
    q = pin.neutral(model)
    for name, value in zip(names, position, strict=True):
        q[model.joints[model.getJointId(name)].idx_q] = value
    data = model.createData()
    pin.forwardKinematics(model, data, q)
    pin.updateFramePlacements(model, data)
    return data.oMf[model.getFrameId(base)].actInv(data.oMf[model.getFrameId(tip)])


def copy_of(robot: str, folder: Path, change) -> str:
    """A profile in `folder`, changed; returns its path."""
    raw = yaml.safe_load((config_dir() / "robots" / f"{robot}.yaml").read_text())
    raw["urdf"] = str(config_dir() / "robots" / raw["urdf"])
    change(raw)
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return str(path)


def test_both_robots_ship():
    assert {"panda", "xarm7"} <= set(available_robots())


@pytest.mark.parametrize("robot", sorted(BUNDLED))
def test_a_profile_that_ships_is_consistent(robot):
    profile = load_profile(robot)
    assert profile.name == robot
    assert len(profile.arm_joints) == 7
    assert ((profile.lower < profile.home) & (profile.home < profile.upper)).all()
    assert profile.joint_names[:7] == profile.arm_joints
    assert not profile.lower.flags.writeable


def test_the_grippers_are_as_the_profiles_say():
    panda, xarm7 = load_profile("panda"), load_profile("xarm7")
    assert panda.gripper is not None
    assert panda.joint_names[-1] == panda.gripper.joint
    assert xarm7.gripper is None
    assert xarm7.joint_names == xarm7.arm_joints


@pytest.mark.parametrize("robot", sorted(BUNDLED))
def test_forward_kinematics_equal_those_of_the_simulated_robot(robot):
    profile = load_profile(robot)
    ours, theirs = pin.buildModelFromUrdf(str(profile.urdf)), bundled_model(robot)
    tip = BUNDLED[robot][1]
    assert tip == profile.tip_frame
    rng = np.random.default_rng(1)
    for position in rng.uniform(profile.lower, profile.upper, (50, 7)):
        mine = tip_pose(ours, profile.arm_joints, position, profile.base_frame, tip)
        other = tip_pose(theirs, profile.arm_joints, position, profile.base_frame, tip)
        assert np.abs(mine.translation - other.translation).max() < 1e-4
        assert np.abs(pin.log3(mine.rotation.T @ other.rotation)).max() < 1e-4


@pytest.mark.parametrize("robot", sorted(BUNDLED))
def test_the_limits_lie_inside_those_of_the_simulated_robot_and_of_the_urdf(robot):
    profile = load_profile(robot)
    for model in (bundled_model(robot), pin.buildModelFromUrdf(str(profile.urdf))):
        for k, name in enumerate(profile.arm_joints):
            joint = model.joints[model.getJointId(name)]
            assert profile.lower[k] >= model.lowerPositionLimit[joint.idx_q]
            assert profile.upper[k] <= model.upperPositionLimit[joint.idx_q]
            assert profile.velocity[k] <= model.velocityLimit[joint.idx_v]


def test_an_unknown_robot_is_answered_with_those_there_are():
    with pytest.raises(ProfileError, match=r"no robot profile 'pandda' .*available: panda, xarm7"):
        load_profile("pandda")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ProfileError, match=r"nowhere\.yaml"):
        load_profile(str(tmp_path / "nowhere.yaml"))


def drop_joints(raw):
    del raw["joints"]


def drop_limit(raw):
    del raw["joints"]["panda_joint3"]["velocity"]


def swap_limits(raw):
    joint = raw["joints"]["panda_joint2"]
    joint["lower"], joint["upper"] = joint["upper"], joint["lower"]


def zero_jerk(raw):
    raw["joints"]["panda_joint1"]["jerk"] = 0.0


def infinite_limit(raw):
    raw["joints"]["panda_joint1"]["upper"] = float("inf")


def word_as_limit(raw):
    raw["joints"]["panda_joint1"]["upper"] = "far"


def unknown_urdf(raw):
    raw["urdf"] = "no_such.urdf"


def unknown_key(raw):
    raw["griper"] = raw.pop("gripper")


def home_outside(raw):
    raw["joints"]["panda_joint4"]["home"] = 1.0


def still_gripper(raw):
    raw["gripper"]["velocity"] = 0.0


def spaced_topic(raw):
    raw["topic"] = "a b"


def unknown_gripper_key(raw):
    raw["gripper"]["speed"] = 1.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (unknown_key, "robot profile: unknown key 'griper'; known: base_frame"),
        (home_outside, "'home' of panda_joint4 is outside its limits"),
        (still_gripper, "gripper 'velocity' must be positive"),
        (spaced_topic, "'a b' is no topic name"),
        (drop_joints, "missing key 'joints'"),
        (drop_limit, "missing key 'velocity'"),
        (swap_limits, "'lower' must lie below 'upper'"),
        (zero_jerk, "'jerk' must be positive"),
        (infinite_limit, "'upper' must be finite"),
        (word_as_limit, "could not convert string to float: 'far'"),
        (unknown_urdf, "no URDF at .*no_such.urdf"),
        (unknown_gripper_key, "gripper: unknown key 'speed'; known: closed"),
    ],
)
def test_a_defective_profile_is_refused_in_a_sentence(tmp_path, change, sentence):
    with pytest.raises(ProfileError, match=sentence):
        load_profile(copy_of("panda", tmp_path, change))


def test_a_profile_that_is_no_yaml_is_refused_by_its_path(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("joints: [")
    with pytest.raises(ProfileError, match=r"broken\.yaml"):
        load_profile(str(path))


def test_a_joint_given_twice_is_refused_and_not_silently_replaced(tmp_path):
    path = tmp_path / "twice.yaml"
    joint = "{lower: -1.0, upper: 1.0, velocity: 1.0, acceleration: 1.0, jerk: 1.0, home: 0.0}"
    path.write_text(f"name: x\njoints:\n  a: {joint}\n  a: {joint}\n")
    with pytest.raises(ProfileError, match="'a' is given twice"):
        load_profile(str(path))


def test_an_empty_profile_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("")
    with pytest.raises(ProfileError, match="wanted a mapping, got None"):
        load_profile(str(path))
