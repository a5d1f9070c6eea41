# SPDX-License-Identifier: MIT
"""Drive a simulated arm with a trained checkpoint: ManiSkill behind the robot's own topics.

ros2 launch difftori_ros sim.launch.py
ros2 launch difftori_ros sim.launch.py checkpoint:=push_cube_state clock:=wall
ros2 launch difftori_ros sim.launch.py --show-args
ros2 param set /sim_bridge seed 200007; ros2 service call /sim_bridge/reset std_srvs/srv/Trigger
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from difftori_ros.bringup.launch_actions import actions, words
from difftori_ros.bringup.node_specs import bridge_spec, sim_policy_settings
from difftori_ros.config.paths import share_dir
from launch import LaunchDescription

ARGUMENTS = (
    ("checkpoint", "pick_cube_points", "Folder of the checkpoint, or the name of one that ships."),
    ("robot", "panda", "Robot profile; must be one that the simulated task has."),
    ("clock", "lockstep", "lockstep: the world waits for every plan; wall: it runs on."),
    ("blackbox", "false", "Record the last seconds, and write them when a fault occurs."),
    ("enclaves", "", "Path of the nodes' SROS2 enclaves, such as /difftori. Empty: none."),
    ("namespace", "", "Namespace of the nodes."),
    ("log_level", "info", "debug, info, warn or error."),
)


def start(context):
    value = context.launch_configurations
    config_file, settings = sim_policy_settings(value["clock"])
    policy = PythonLaunchDescriptionSource(str(share_dir() / "launch" / "policy.launch.py"))
    arguments = {"config_file": str(config_file), **words(settings)}
    bridge = bridge_spec(
        value["checkpoint"], value["robot"], value["clock"], None, value["enclaves"]
    )
    return [
        *actions([bridge], value["namespace"], value["log_level"]),
        IncludeLaunchDescription(policy, launch_arguments=arguments.items()),
    ]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
