# SPDX-License-Identifier: MIT
"""What cannot work is refused with one clear sentence, and nothing moves."""

import hashlib
import os
import shutil
import subprocess
import sys

from difftori_ros.bringup.node_specs import policy_specs
from difftori_ros.config.paths import checkpoint_dir, config_dir
from tests.support.fake_robot import FakeRobot


def start_policy(graph, checkpoint="pick_cube_state", robot="panda", parameters=None, remaps=None):
    guard, policy = policy_specs(
        checkpoint,
        robot,
        config_file=config_dir() / "sim.yaml",
        parameters=parameters,
        remaps=remaps,
    )
    graph.start(policy)
    return guard


def last_error(graph, name="policy_node"):
    errors = [line for line in graph.log(name).splitlines() if "[ERROR]" in line]
    assert "Traceback" not in graph.log(name)
    return errors[-1]


def test_checkpoint_for_another_robot_is_refused_with_a_two_column_table(graph):
    start_policy(graph, robot="xarm7")
    assert graph.exit_status("policy_node") == 1
    assert "was trained for another robot than 'xarm7'" in last_error(graph)
    log = graph.log("policy_node")
    header = next(line for line in log.splitlines() if "robot profile" in line)
    assert header.split() == ["checkpoint", "robot", "profile"]
    assert ["robot", "panda", "xarm7"] in [line.split() for line in log.splitlines()]
    assert graph.plans == []


def test_pickle_file_is_refused_without_being_opened_as_one(graph, tmp_path):
    folder = tmp_path / "evil"
    shutil.copytree(checkpoint_dir() / "pick_cube_state", folder)
    marker = tmp_path / "executed"
    payload = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    (folder / "weights.safetensors").write_bytes(b"\x80\x04" + payload)
    start_policy(graph, checkpoint=str(folder))
    assert graph.exit_status("policy_node") == 1
    assert "pickle" in last_error(graph)
    assert not marker.exists()
    assert graph.plans == []


def test_unknown_checkpoint_is_refused_with_the_names_of_those_that_exist(graph):
    start_policy(graph, checkpoint="pick_cube_pionts")
    assert graph.exit_status("policy_node") == 1
    assert "no checkpoint 'pick_cube_pionts'" in last_error(graph)
    assert "pick_cube_points" in last_error(graph)


def test_unknown_parameter_is_refused_with_the_names_of_those_that_exist(graph):
    start_policy(graph, parameters={"dead_line_s": 0.1})
    assert graph.exit_status("policy_node") == 1
    assert "unknown parameter 'dead_line_s'" in last_error(graph)
    assert "deadline_s" in last_error(graph)


def test_parameter_out_of_range_is_refused_with_its_range(graph):
    start_policy(graph, parameters={"deadline_s": 99.0})
    assert graph.exit_status("policy_node") == 1
    assert "deadline_s" in last_error(graph)


def test_other_weights_than_the_wanted_ones_are_refused_with_both_hashes(graph):
    wanted = "0" * 64
    start_policy(graph, parameters={"checkpoint_sha256": wanted})
    assert graph.exit_status("policy_node") == 1
    weights = (checkpoint_dir() / "pick_cube_state" / "weights.safetensors").read_bytes()
    said = last_error(graph)
    assert wanted in said
    assert hashlib.sha256(weights).hexdigest() in said


def test_the_wanted_weights_are_taken_and_their_hash_is_shown(graph):
    weights = (checkpoint_dir() / "pick_cube_state" / "weights.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    start_policy(graph, parameters={"checkpoint_sha256": digest.upper()})
    robot = FakeRobot(graph.node)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    assert graph.newest("policy_node")["sha256"] == digest[:12]


def test_unknown_topic_is_named_with_the_topics_that_exist_and_nothing_is_planned(graph):
    start_policy(graph, checkpoint="pick_cube_points", remaps={"points": "/nope"})
    robot = FakeRobot(graph.node, points_topic="/camera/depth/points")

    def named():
        newest = graph.newest("policy_node")
        return newest.get("code") == "MISSING" and "/camera/depth/points" in newest["message"]

    graph.until(named, each=robot.publish)
    assert "nobody publishes '/nope'" in graph.newest("policy_node")["message"]
    assert graph.plans == []


def test_cloud_in_an_unknown_frame_is_named_with_the_frames_that_exist(graph):
    start_policy(graph, checkpoint="pick_cube_points")
    robot = FakeRobot(graph.node, cloud_frame="somewhere")
    graph.until(
        lambda: graph.newest("policy_node").get("code") == "UNKNOWN_FRAME", each=robot.publish
    )
    message = graph.newest("policy_node")["message"]
    assert "somewhere" in message
    assert "camera_optical_frame" in message
    assert graph.plans == []


def test_robot_that_delivers_everything_gets_plans(graph):
    # the counterpart of the refusals above: the same robot, nothing wrong
    start_policy(graph, checkpoint="pick_cube_points")
    robot = FakeRobot(graph.node)
    graph.until(lambda: len(graph.plans) >= 2, each=robot.publish)


def test_missing_vulkan_driver_is_one_sentence_that_names_the_remedy(tmp_path):
    environment = dict(os.environ) | {"VK_ICD_FILENAMES": str(tmp_path / "none.json")}
    command = [sys.executable, "-m", "difftori_sim.cli.main", "evaluate", "--episodes", "1"]
    command += ["--checkpoint", "pick_cube_state"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("difftori: ")]
    assert len(said) == 1
    assert "Vulkan" in said[0]
    assert "./scripts/setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_old_inputs_give_no_plan_when_planning_once_per_observation(graph):
    # trigger: observation takes the streams' common stamp; their age counts all the same
    start_policy(
        graph,
        parameters={
            "trigger": "observation",
            "joint_states_max_age_s": 0.05,
            "command_latency_s": 0.0,
        },
    )
    robot = FakeRobot(graph.node)
    graph.until(
        lambda: graph.newest("policy_node").get("code") == "STALE",
        each=lambda: robot.publish(age_s=0.3),
    )
    assert "limit 0.050 s" in graph.newest("policy_node")["message"]
    assert graph.plans == []


def test_streams_that_stop_are_named_when_planning_once_per_observation(graph):
    start_policy(graph, parameters={"trigger": "observation"})
    robot = FakeRobot(graph.node)
    graph.until(lambda: len(graph.plans) >= 1, each=robot.publish)
    graph.until(lambda: graph.newest("policy_node").get("code") == "STALE")
