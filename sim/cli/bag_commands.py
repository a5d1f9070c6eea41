# SPDX-License-Identifier: MIT
"""The commands `bag`, `collect` and `inspect`: what was seen, written down and looked at."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import Card
from difftori_models.data import load_demos
from difftori_ros.config.parameter_files import values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import config_dir, find_checkpoint
from difftori_ros.policy.compatibility import check_card
from difftori_ros.robot.profile import load_profile
from difftori_sim.arm.tasks import available_tasks, find_task

COMMANDS = ("bag", "collect", "inspect")
TRIGGERS = ("timer", "observation")


def add_commands(commands: Any) -> None:
    """Add the parsers of these commands to those of `difftori`."""
    bag = commands.add_parser("bag", help="record what the policy sees, from its topics")
    _add_robot_arguments(bag)
    _add_config_argument(bag)
    bag.add_argument("--out", type=Path, required=True, help="the .mcap file")
    bag.add_argument("--seconds", type=float, help="end by itself after this time")

    collect = commands.add_parser(
        "collect",
        help="make demonstrations from recorded bags, or in a suite (--suite)",
        epilog="From the experts of suites: difftori collect --suite SUITE --help",
    )
    collect.add_argument(
        "--from-bag", type=Path, nargs="+", required=True, help="rosbag2 folders or .mcap files"
    )
    _add_robot_arguments(collect)
    _add_config_argument(collect)
    collect.add_argument(
        "--trigger", choices=TRIGGERS, help="overrides the parameter `trigger` of that file"
    )
    collect.add_argument("--out", type=Path, required=True, help="the .npz file")

    inspect = commands.add_parser("inspect", help="show what a policy sees")
    inspect.add_argument("--checkpoint", required=True, help="folder or shipped name")
    inspect.add_argument("--live", action="store_true", help="from the robot's topics")
    inspect.add_argument("--robot", default="panda", help="robot profile")
    inspect.add_argument("--out", type=Path, default=Path("out/inspect.png"), help="the picture")
    inspect.add_argument("--once", action="store_true", help="one look, not one a second")
    inspect.add_argument("--demos", type=Path, help="what it was trained on, to be shown beside")
    inspect.add_argument("--sim-time", action="store_true", help="take the time from /clock")
    _add_config_argument(inspect)
    _add_remap_argument(inspect)


def _add_config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", type=Path, help="parameters of the policy node")


def _add_robot_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", help="folder or shipped name: what is seen and done")
    what.add_argument("--task", choices=available_tasks(), help="the same, by a task of ours")
    parser.add_argument("--variant", default="state", help="of --task: state, points or rgb")
    parser.add_argument("--robot", default="panda", help="robot profile")
    _add_remap_argument(parser)


def _add_remap_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--remap",
        action="append",
        default=[],
        metavar="NAME:=TOPIC",
        help="a stream is on another topic; may be given several times",
    )


def run_command(arguments: argparse.Namespace, console: Console) -> int:
    """Run one of these commands; return the exit status."""
    remaps = _remaps(arguments.remap)
    if arguments.command == "inspect":
        return _inspect(arguments, remaps, console)
    card, profile = _card(arguments), load_profile(arguments.robot)
    if arguments.command == "bag":
        try:
            from difftori_ros.nodes.bag_recorder_node import record_bag
        except ImportError as error:
            raise RuntimeError(f"recording needs ROS 2's Python packages: {error}") from error
        values = policy_values(arguments)
        return record_bag(card, profile, arguments.out, arguments.seconds, remaps, values)

    from tqdm import tqdm

    from difftori_ros.tools.bag_to_demos import import_bags

    with tqdm(total=len(arguments.from_bag), desc="collect", unit="bag", disable=None) as bar:
        made = import_bags(
            arguments.from_bag,
            card,
            profile,
            arguments.out,
            values=policy_values(arguments),
            remaps=remaps,
            command=_command(arguments),
            on_bag=lambda _: bar.update(),
        )
    told = f"wrote {made.episodes} episodes, {made.steps} steps, to {arguments.out}"
    if made.cut:
        told += f"; {100 * made.cut:.0f} % of the actions were cut to the action space"
    if made.refusals:
        counts = ", ".join(f"{reason} {count}" for reason, count in made.refusals.items())
        told += f"; observations that were due and not there: {counts}"
    console.print(told, soft_wrap=True, markup=False)
    return 0


def _inspect(arguments: argparse.Namespace, remaps: dict[str, str], console: Console) -> int:
    from difftori_ros.tools.input_report import card_table

    folder, profile = find_checkpoint(arguments.checkpoint), load_profile(arguments.robot)
    demos = load_demos(arguments.demos) if arguments.demos else None
    card = load_card(folder)
    if not arguments.live:
        console.print(card_table(card))
        return 0
    check_card(card, profile)
    try:
        from difftori_ros.tools.inspect_node import inspect_live
    except ImportError as error:
        raise RuntimeError(f"a live look needs ROS 2's Python packages: {error}") from error
    return inspect_live(
        card,
        profile,
        policy_values(arguments),
        arguments.out,
        console,
        remaps=remaps,
        demos=demos,
        once=arguments.once,
        sim_time=arguments.sim_time,
    )


def policy_values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Parameters of the policy node, with what the command line lays over them."""
    files = [config_dir() / "policy.yaml"]
    values = values_of(
        "policy_node",
        POLICY,
        files + ([arguments.config_file] if arguments.config_file else []),
    )
    trigger = getattr(arguments, "trigger", None)
    return values | ({"trigger": trigger} if trigger else {})


def _card(arguments: argparse.Namespace) -> Card:
    if arguments.checkpoint:
        return load_card(find_checkpoint(arguments.checkpoint))
    from difftori_sim.demonstrations.record import expert_card

    task = find_task(arguments.task)
    card = expert_card(task, arguments.variant, arguments.robot)
    return dataclasses.replace(card, observation=task.observation(arguments.variant))


def _remaps(given: list[str]) -> dict[str, str]:
    pairs = [text.partition(":=") for text in given]
    for text, (name, sign, topic) in zip(given, pairs, strict=True):
        if not (name and sign and topic):
            raise ValueError(f"wanted --remap NAME:=TOPIC, got '{text}'")
    return {name: topic for name, _, topic in pairs}


def _command(arguments: argparse.Namespace) -> str:
    """The command that makes the same file again."""
    words = ["difftori collect --from-bag", *map(str, arguments.from_bag)]
    for name in ("checkpoint", "task", "variant", "robot", "config_file", "trigger"):
        value = getattr(arguments, name)
        if value is not None and not (name == "variant" and arguments.checkpoint):
            words.append(f"--{name.replace('_', '-')} {value}")
    return " ".join([*words, *(f"--remap {text}" for text in arguments.remap)])
