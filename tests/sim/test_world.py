# SPDX-License-Identifier: MIT
"""The simulated world: same seed, same bits; a camera where the settings say; arms that follow."""

import contextlib

import numpy as np
import pytest
import yaml

from difftori_ros.config.paths import config_dir
from difftori_ros.motion.trajectory import Reference, hold, schedule
from difftori_ros.observation.self_filter import SelfFilter
from difftori_ros.rigid import matrix_to_pose, pose_to_matrix
from difftori_ros.robot.kinematics import Kinematics
from difftori_ros.robot.profile import load_profile
from difftori_ros.types import Trajectory
from difftori_sim.arm.tasks import TRAIN_SEEDS, find_task
from difftori_sim.arm.world import CAMERA_FRAME, CAMERAS, World, cameras_of

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(300)]

PANDA = load_profile("panda")
SEED = TRAIN_SEEDS.start + 8


@pytest.fixture(scope="module", params=["pick_cube", "push_cube"])
def world(request):
    with contextlib.closing(World(find_task(request.param), PANDA)) as made:
        made.reset(SEED)
        yield made


def observed(world: World) -> dict[str, bytes]:
    """Everything a policy could be shown, without its stamps."""
    state, (pictures, cloud) = world.joint_state(), world.sense()
    assert cloud.rgb is not None
    return {
        "joints": state.position.tobytes() + state.velocity.tobytes(),
        **{name: pose.pose.tobytes() for name, pose in world.poses().items()},
        "rgb": pictures["camera"].tobytes(),
        "cloud": cloud.xyz.tobytes() + cloud.rgb.tobytes(),
    }


def home_to(world: World, move: float, duration_s: float) -> None:
    """Drive every joint by `move` [rad] and let `duration_s` pass."""
    now_ns, position = world.now_ns, world.joint_state().position[:7]
    start = Reference(position, np.zeros(7), np.zeros(7))
    arm = schedule(PANDA, now_ns, np.tile(position + move, (4, 1)), 0.05, start, now_ns)
    assert arm is not None
    world.command(arm)
    world.advance(duration_s)


def test_same_seed_gives_the_same_bits_at_the_start_and_on_the_way(world):
    runs = []
    for seed in (SEED, SEED + 1, SEED):
        world.reset(seed)
        seen = [observed(world)]
        home_to(world, 0.03, 0.2)
        runs.append([*seen, observed(world)])
    assert runs[0] == runs[2]
    for name, value in runs[0][0].items():
        if name != "goal" or world.task.name == "pick_cube":
            assert value != runs[1][0][name] or name == "joints", name


def test_looking_and_taking_pictures_for_people_changes_nothing(world):
    runs = []
    for look in (False, True):
        world.reset(SEED)
        if look:
            world.render()
        home_to(world, 0.02, 0.1)
        if look:
            world.sense()
            world.render()
        world.advance(0.1)
        runs.append(observed(world))
    assert runs[0] == runs[1]


def test_goal_marker_is_for_people_only(world):
    world.reset(SEED)

    def green(colors) -> int:
        r, g, b = np.moveaxis(np.asarray(colors, dtype=np.float64).reshape(-1, 3), 1, 0)
        return int(((g > 0.4) & (g > 1.6 * r) & (g > 1.6 * b)).sum())

    assert green(world.sense()[1].rgb) == 0
    shown = green(world.render() / 255.0)
    assert green(world.sense()[1].rgb) == 0, "also after it was shown"
    if world.task.name == "pick_cube":
        assert shown > 20, "people do see it"


def test_cameras_are_known_before_a_world_is_loaded(world):
    loaded = [name for name, uid in CAMERAS.items() if uid in world._sim._sensors]
    assert cameras_of(world.task) == loaded == ["camera"]
    assert cameras_of(find_task("stack_cube_wrist")) == ["camera", "wrist_camera"]


def test_camera_is_where_the_parameter_file_says(world):
    text = (config_dir() / "sim.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["policy_node"]["ros__parameters"]
    assert values["camera_frame"] == CAMERA_FRAME
    wanted = pose_to_matrix(np.array(values["camera_pose"]))
    np.testing.assert_allclose(world.camera().base_from_camera, wanted, rtol=0, atol=1e-6)


def test_self_filter_drops_the_arm_and_keeps_the_cube_and_the_table(world):
    world.reset(SEED)
    cloud, state = world.sense()[1], world.joint_state()
    base_from_camera = world.camera().base_from_camera
    xyz = cloud.xyz @ base_from_camera[:3, :3].T + base_from_camera[:3, 3]
    joints = dict(zip(state.names, state.position, strict=True))
    kept = SelfFilter(PANDA, 0.01).outside(xyz.astype(np.float32), joints)
    seen = world._sim._sensors["base_camera"].get_obs(
        rgb=False, depth=True, position=False, segmentation=True
    )
    shown = seen["segmentation"][0, ..., 0].numpy()[seen["depth"][0, ..., 0].numpy() > 0]
    names = {key: thing.name for key, thing in world._sim.segmentation_id_map.items()}
    arm = np.array([names.get(int(key), "").startswith("panda") for key in shown])
    cube = np.array([names.get(int(key), "") in ("cube", "obj") for key in shown])
    assert arm.sum() > 1000
    assert cube.sum() > 10
    assert kept[arm].mean() < 0.01
    assert kept[cube].all()
    assert kept[~arm].mean() > 0.999


def test_cloud_shows_the_cube_where_its_pose_is(world):
    world.reset(SEED)
    cloud = world.sense()[1]
    assert cloud.frame_id == CAMERA_FRAME
    assert cloud.stamp_ns == world.now_ns
    base_from_camera = world.camera().base_from_camera
    xyz = cloud.xyz @ base_from_camera[:3, :3].T + base_from_camera[:3, 3]
    cube = world.poses()["object"].pose[:3]
    near = np.abs(xyz - cube).max(axis=1) < 0.035
    on_cube = xyz[near & (xyz[:, 2] > 0.005)]
    assert len(on_cube) > 10
    assert on_cube[:, 2].max() == pytest.approx(0.04, abs=0.003), "the cube's top"
    table = xyz[(np.abs(xyz[:, 0] - 0.6) < 0.2) & (np.abs(xyz[:, 2]) < 0.01)]
    assert abs(np.median(table[:, 2])) < 0.003, "the table's height"


def test_forward_kinematics_of_the_profile_is_that_of_the_simulated_arm(world):
    world.reset(SEED)
    home_to(world, 0.05, 0.5)
    tip = world._sim.agent.tcp.pose.raw_pose[0].numpy().astype(np.float64)
    base = world._sim.agent.robot.pose.raw_pose[0].numpy().astype(np.float64)
    simulated = np.linalg.inv(matrix_of(base)) @ matrix_of(tip)
    ours = Kinematics(PANDA).tip_pose(world.joint_state().position[:7])
    np.testing.assert_allclose(ours[:3], simulated[:3, 3], atol=1e-4)
    np.testing.assert_allclose(pose_to_matrix(ours), simulated, atol=1e-3)


def matrix_of(raw) -> np.ndarray:
    """ManiSkill: x y z, then the quaternion w x y z."""
    return pose_to_matrix(np.array([*raw[:3], *raw[4:], raw[3]]))


def test_arm_and_gripper_follow_trajectories_and_hold_their_ends(world):
    world.reset(SEED)
    before = world.joint_state().position
    home_to(world, 0.05, 0.3)
    shut = np.array([0.01])
    world.command(hold((PANDA.gripper.joint,), world.now_ns, shut, world.now_ns))
    world.advance(1.0)
    after = world.joint_state()
    np.testing.assert_allclose(after.position[:7], before[:7] + 0.05, atol=5e-3)
    assert after.position[7] == pytest.approx(0.01, abs=2e-3)
    assert np.abs(after.velocity).max() < 0.01


def test_drives_do_what_maniskills_own_step_does(world):
    change = np.array([*[0.1] * 7, -0.03])
    times = np.linspace(0.0, 0.5, 11)
    runs = []
    for own in (False, True):
        world.reset(SEED)
        start = world.joint_state().position
        positions, velocities = (
            start + np.outer(times / 0.5, change),
            np.tile(change / 0.5, (11, 1)),
        )
        velocities[-1] = 0.0
        arm, finger = (
            Trajectory(world.now_ns, names, times, positions[:, k], velocities[:, k])
            for names, k in ((PANDA.arm_joints, slice(7)), ((PANDA.gripper.joint,), slice(7, 8)))
        )
        world.command(arm)
        world.command(finger)
        seen = []
        for tick in range(1, 21):
            if own:
                at_ns = arm.stamp_ns + tick * 10_000_000
                (q, v), (f, _) = arm.sample(at_ns), finger.sample(at_ns)
                # ManiSkill's gripper takes -1..1 for -0.01..0.04 m
                drive = np.array([*q, *v, (f[0] + 0.01) / 0.05 * 2.0 - 1.0], dtype=np.float32)
                world._env.step(drive)
            else:
                world.advance(0.01)
            seen.append(world.joint_state().position)
        runs.append(np.array(seen))
    assert np.abs(runs[0][-1] - runs[0][0]).min() > 1e-3, "everything moves"
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-6)


def test_success_is_looked_at_twenty_times_a_second_and_stays(world):
    from mani_skill.utils.structs import Pose

    sim = world._sim
    names = {"pick_cube": ("cube", "goal_site"), "push_cube": ("obj", "goal_region")}
    cube, goal = (getattr(sim, name) for name in names[world.task.name])

    def with_cube_in_goal(ticks: int) -> bool:
        away = Pose.create(cube.pose.raw_pose.clone())
        cube.set_pose(Pose.create_from_pq(goal.pose.p, away.q))
        world.advance(ticks * 0.01)
        cube.set_pose(away)
        return world.succeeded

    world.reset(SEED + 1)  # the cube of SEED lies where pick_cube wants it
    assert not with_cube_in_goal(4), "in the goal and out of it between two looks"
    world.advance(0.05)
    assert not world.succeeded
    assert with_cube_in_goal(1), "in the goal at a look, 0.1 s after the start"
    world.advance(0.1)
    assert world.succeeded, "once is enough"
    world.reset(SEED + 1)
    assert not world.succeeded


def test_arm_without_a_command_stays_where_it_is(world):
    world.reset(SEED)
    before = world.joint_state().position
    world.advance(0.5)
    np.testing.assert_allclose(world.joint_state().position, before, atol=5e-3)


def test_clock_stands_still_but_for_advance_and_goes_on_over_a_reset(world):
    world.reset(SEED)
    before = world.now_ns
    world.sense()
    world.render()
    assert world.joint_state().stamp_ns == before
    assert {pose.stamp_ns for pose in world.poses().values()} == {before}
    world.advance(0.25)
    assert world.now_ns == before + 250_000_000
    world.reset(SEED)
    assert world.now_ns > before + 250_000_000


def test_poses_are_in_the_base_frame_with_unit_quaternions(world):
    for pose in world.poses().values():
        assert pose.frame_id == PANDA.base_frame
        np.testing.assert_allclose(matrix_to_pose(pose_to_matrix(pose.pose)), pose.pose, atol=1e-9)
        assert np.linalg.norm(pose.pose[:3]) < 1.5, "seen from the robot's base"
