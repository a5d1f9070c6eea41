# SPDX-License-Identifier: MIT
"""The `difftori` command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from difftori_models.errors import LearningError
from difftori_models.inference.backends.base import BACKENDS
from difftori_ros.bringup.processes import interrupt_on_termination
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.errors import DifftoriError
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS, available_tasks
from difftori_sim.arm.vulkan import use_shipped_driver
from difftori_sim.cli.bag_commands import COMMANDS, add_commands, run_command
from difftori_sim.evaluation.results import writable, write_json

from .suite_commands import run_suite_command, train_words, wants_suite


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="difftori",
        description="Demonstrate, record, train, evaluate, export and replay DiffTORI policies.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser("demo", help="drive the simulated arm through the ROS processes")
    _add_run_arguments(demo, episodes=10)
    demo.add_argument("--domain", type=int, help="ROS domain; a random one by default")
    demo.add_argument("--clock", choices=("lockstep", "wall"), default="lockstep")
    demo.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder of video and logs"
    )
    demo.add_argument("--no-video", action="store_true", help="take no pictures")

    evaluate = commands.add_parser(
        "evaluate",
        help="measure the success of a checkpoint",
        epilog="Of other suites: difftori evaluate --suite SUITE --help",
    )
    _add_run_arguments(evaluate, episodes=50)
    evaluate.add_argument(
        "--through", choices=("direct", "ros"), default="direct", help="one process, or three"
    )
    evaluate.add_argument("--robot", default="panda", help="robot profile")
    evaluate.add_argument(
        "--clock", choices=("lockstep", "wall"), default="lockstep", help="through ros only"
    )
    evaluate.add_argument("--no-refine", action="store_true", help="the base policy alone")

    evaluate.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="what runs the networks"
    )

    exported = commands.add_parser("export", help="write a checkpoint as ONNX graphs")
    exported.add_argument("--checkpoint", required=True, help="folder or shipped name")
    exported.add_argument("--out", type=Path, help="folder; the checkpoint's own by default")
    exported.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with PyTorch first and refuse to write graphs that differ",
    )

    replay = commands.add_parser("replay", help="show a recording that a fault has left")
    replay.add_argument("file", type=Path, help="the .mcap file that the black box has written")
    replay.add_argument("--png", type=Path, help="draw joints, commands and statuses there")

    record = commands.add_parser("record", help="record demonstrations of the scripted expert")
    record.add_argument("--task", choices=available_tasks(), required=True)
    record.add_argument("--variant", choices=("state", "points", "rgb"), default="state")
    record.add_argument("--out", type=Path, required=True, help="the .npz file")
    record.add_argument("--episodes", type=int, default=150)
    record.add_argument("--noise", type=float, default=0.15, help="on executed actions")
    record.add_argument("--first-seed", type=int, default=TRAIN_SEEDS.start)

    add_commands(commands)
    train = commands.add_parser("train", help="train a checkpoint", add_help=False)
    train.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _add_run_arguments(parser: argparse.ArgumentParser, episodes: int) -> None:
    parser.add_argument("--checkpoint", default="pick_cube_points", help="folder or shipped name")
    parser.add_argument("--episodes", type=int, default=episodes)
    parser.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    parser.add_argument("--json", type=Path, help="write the result there")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status. Every failure is one sentence."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        from .train_rl import main as train_by_reward
        from .train_rl import wants

        if wants(argv):
            return train_by_reward(argv[1:])
        from difftori_models.training.cli import train_main

        return train_main(train_words(argv[1:])) or 0
    of_suite = argv[:1] in (["collect"], ["evaluate"]) and wants_suite(argv)
    arguments = argparse.Namespace() if of_suite else _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    use_shipped_driver()
    interrupt_on_termination()
    try:
        if getattr(arguments, "json", None):
            writable(arguments.json)
        if of_suite:
            return run_suite_command(argv, console)
        return _run(arguments, console)
    except KeyboardInterrupt:
        Console(stderr=True).print("difftori: stopped")
        return 130
    except (DifftoriError, LearningError, OSError, ValueError, RuntimeError) as error:
        Console(stderr=True, soft_wrap=True).print(f"difftori: {error}", style="red", markup=False)
        return 1


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.command in COMMANDS:
        return run_command(arguments, console)
    if arguments.command == "record":
        from difftori_sim.arm.tasks import find_task
        from difftori_sim.demonstrations.record import record

        written, tried = record(
            find_task(arguments.task),
            arguments.variant,
            arguments.out,
            episodes=arguments.episodes,
            noise=arguments.noise,
            first_seed=arguments.first_seed,
        )
        console.print(f"wrote {written} episodes ({tried} tried) to {arguments.out}")
        return 0
    if arguments.command == "replay":
        try:
            from difftori_ros.tools.show_recording import replay

            replay(arguments.file, console, arguments.png)
        except ImportError as error:
            raise RuntimeError(f"replaying needs ROS 2's Python packages: {error}") from error
        return 0
    if arguments.command == "export":
        try:
            from difftori_models.inference.export import export
        except ImportError as error:
            raise RuntimeError(f"exporting needs PyTorch: {error}") from error
        folder = find_checkpoint(arguments.checkpoint)
        out = folder if arguments.out is None else arguments.out
        manifest = export(folder, out, check=arguments.check)
        told = (
            f"at most {manifest.difference:.1e} from PyTorch on {manifest.checked} random "
            "observations"
            if manifest.checked
            else "not compared with PyTorch"
        )
        console.print(f"wrote {', '.join(manifest.graphs)} to {out}: {told}", soft_wrap=True)
        return 0
    if arguments.episodes < 1:
        raise ValueError(f"wanted at least one episode, got {arguments.episodes}")
    if arguments.command == "demo":
        from .demo import run_demo

        result = run_demo(
            arguments.checkpoint,
            episodes=arguments.episodes,
            first_seed=arguments.first_seed,
            out=arguments.out,
            console=console,
            clock=arguments.clock,
            domain=arguments.domain,
            video=not arguments.no_video,
        )
    else:
        common = {
            "episodes": arguments.episodes,
            "first_seed": arguments.first_seed,
            "refine": not arguments.no_refine,
            "robot": arguments.robot,
            "backend": arguments.backend,
        }
        if arguments.through == "ros":
            from difftori_sim.evaluation.through_ros import evaluate_ros

            result = evaluate_ros(arguments.checkpoint, clock=arguments.clock, **common)
        else:
            from difftori_sim.evaluation.direct import evaluate_direct

            result = evaluate_direct(arguments.checkpoint, **common)
        console.print(result.sentence, soft_wrap=True)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
