# SPDX-License-Identifier: MIT
"""Drive an arm with a trained checkpoint.

ros2 launch difftori_ros policy.launch.py checkpoint:=pick_cube_points robot:=panda
ros2 launch difftori_ros policy.launch.py checkpoint:=/path/to/checkpoint dry_run:=true
ros2 launch difftori_ros policy.launch.py points_topic:=/camera/depth/points goal_topic:=/target
ros2 launch difftori_ros policy.launch.py autostart:=false
ros2 launch difftori_ros policy.launch.py --show-args
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction

from difftori_ros.bringup.launch_actions import actions, remaps, typed
from difftori_ros.bringup.node_specs import policy_specs
from launch import LaunchDescription

ARGUMENTS = (
    ("checkpoint", "pick_cube_points", "Folder of the checkpoint, or the name of one that ships."),
    ("robot", "panda", "Robot profile: a name that ships, or the path of a YAML file."),
    ("config_file", "", "Parameters of all the nodes (YAML), laid over those that ship."),
    ("device", "", "Where the networks run: cpu or cuda. Empty: as the parameter files say."),
    (
        "backend",
        "",
        "What runs them: auto, eager, compile, onnx or cuda_graph. Empty: as the parameter files "
        "say.",
    ),
    (
        "trigger",
        "",
        "When to plan: timer, or observation (once per complete observation). Empty: as the "
        "parameter files say.",
    ),
    (
        "deadline_s",
        "",
        "Time one plan may take [s]; 0 for no limit. Empty: as the parameter files say.",
    ),
    (
        "command_latency_s",
        "",
        "Time a plan gets to reach the controller [s]. Empty: as the parameter files say.",
    ),
    ("dry_run", "", "true: plan, but send nothing to the arm. Empty: as the parameter files say."),
    (
        "autostart",
        "",
        "false: wait for `ros2 lifecycle set` to configure and activate. Empty: as the parameter "
        "files say.",
    ),
    ("use_sim_time", "", "true: take the time from /clock. Empty: as the parameter files say."),
    ("blackbox", "true", "Record the last seconds, and write them when a fault occurs."),
    ("enclaves", "", "Path of the nodes' SROS2 enclaves, such as /difftori. Empty: none."),
    ("namespace", "", "Namespace of the nodes."),
    ("log_level", "info", "debug, info, warn or error."),
    ("joint_states_topic", "joint_states", "Joint states of the arm and its gripper."),
    ("points_topic", "points", "The point cloud."),
    ("goal_topic", "goal", "The goal pose."),
    ("object_topic", "object", "The object's pose, for checkpoints that ask for it."),
)


def start(context):
    value = context.launch_configurations
    specs = policy_specs(
        value["checkpoint"],
        value["robot"],
        config_file=value["config_file"],
        parameters=typed(
            value,
            "device",
            "backend",
            "trigger",
            "deadline_s",
            "command_latency_s",
            "dry_run",
            "autostart",
            "use_sim_time",
        ),
        guard_parameters=typed(value, "use_sim_time"),
        remaps=remaps(value),
        blackbox=typed(value, "blackbox").get("blackbox", True),
        enclaves=value["enclaves"],
    )
    return actions(specs, value["namespace"], value["log_level"])


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
