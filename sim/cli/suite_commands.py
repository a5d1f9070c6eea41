# SPDX-License-Identifier: MIT
"""`collect`, `train` and `evaluate` with `--suite`: tasks of others by the same three words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from difftori_models.checkpoint import load_card
from difftori_models.contract.specs import ObservationSpec
from difftori_models.inference.backends.base import BACKENDS
from difftori_models.inference.graph_cache import ready_graphs
from difftori_models.inference.planner import Planner
from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS, Task, available_tasks
from difftori_sim.evaluation.direct import evaluate_direct, seed_range
from difftori_sim.evaluation.results import writable, write_json
from difftori_sim.suites import SUITES, open_suite
from difftori_sim.suites.env import VARIANTS, SuiteEnv, SuiteEpisode, SuiteError, roll_out

NOISE = {"metaworld": 0.1, "robomimic": 0.1}
"""Noise on what a scripted expert executes, unless the command line says otherwise [network
units]; none where a motion planner follows a plan that it does not mend."""
EPISODES = 50
"""Episodes that are collected unless the command line says otherwise."""


def wants_suite(argv: Sequence[str]) -> bool:
    """Whether the words of a command are about a suite."""
    return any(word == "--suite" or word.startswith("--suite=") for word in argv)


def run_suite_command(argv: Sequence[str], console: Console) -> int:
    """Run `collect` or `evaluate`; return the exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.episodes is not None and arguments.episodes < 1:
        raise ValueError(f"wanted at least one episode, got {arguments.episodes}")
    if arguments.command == "collect":
        return _collect(arguments, console)
    return _evaluate(arguments, console)


def train_words(argv: Sequence[str]) -> list[str]:
    """The words of `difftori train` with those about a suite turned into files and a name."""
    if not wants_suite(argv):
        return list(argv)
    parser = argparse.ArgumentParser(prog="difftori train", add_help=False, allow_abbrev=False)
    _add_task(parser)
    for name in ("--demos", "--out", "--name"):
        parser.add_argument(name)
    arguments, rest = parser.parse_known_args(argv)
    home = home_of(arguments)
    return [
        *("--demos", arguments.demos or str(home / "demos.npz")),
        *("--out", arguments.out or str(home / "train")),
        *("--name", arguments.name or home.name),
        *rest,
    ]


def home_of(arguments: argparse.Namespace) -> Path:
    """The folder of a suite's task as it is seen: what is not said elsewhere lies there."""
    words = (arguments.suite, arguments.task, arguments.obs)
    return Path("out") / ".".join(re.sub(r"[^A-Za-z0-9_.-]", "-", word) for word in words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="difftori")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    collect = commands.add_parser("collect", help="demonstrations of a suite's expert")
    _add_task(collect)
    collect.add_argument("--episodes", type=int, help=f"{EPISODES}, or all of a file")
    collect.add_argument("--first-seed", type=int, help=f"{TRAIN_SEEDS.start} by default")
    collect.add_argument("--noise", type=float, help="on executed actions [network units]")
    collect.add_argument("--out", type=Path, help="the .npz file")
    source = collect.add_mutually_exclusive_group()
    source.add_argument(
        "--expert", default="scripted", help="scripted, random, or a checkpoint's folder"
    )
    source.add_argument("--from-hdf5", type=Path, help="a file in Robomimic's layout")

    evaluate = commands.add_parser("evaluate", help="what a checkpoint reaches")
    _add_task(evaluate)
    evaluate.add_argument("--checkpoint", help="folder or shipped name")
    evaluate.add_argument("--episodes", type=int, default=50)
    evaluate.add_argument("--first-seed", type=int, default=TEST_SEEDS.start)
    evaluate.add_argument("--json", type=Path, help="write the result there")
    evaluate.add_argument("--no-refine", action="store_true", help="the base policy alone")
    evaluate.add_argument("--backend", choices=BACKENDS, default="auto")
    return parser


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", choices=tuple(SUITES), required=True)
    parser.add_argument("--task", required=True, help="its name in the suite")
    parser.add_argument("--obs", choices=VARIANTS, default="state", help="what is seen")


def _ours(arguments: argparse.Namespace) -> Task | None:
    """Our own task of that name, whose arm is driven as a real one is; None when there is none."""
    if arguments.suite != "maniskill":
        return None
    from difftori_sim.suites.maniskill import own_task

    return own_task(arguments.task)


def _collect(arguments: argparse.Namespace, console: Console) -> int:
    out = arguments.out or home_of(arguments) / "demos.npz"
    if arguments.from_hdf5 is not None:
        if arguments.suite != "robomimic":
            raise ValueError(f"--from-hdf5 is for the suite robomimic, not {arguments.suite}")
        if arguments.noise is not None or arguments.first_seed is not None:
            raise ValueError("--noise and --first-seed mean nothing beside --from-hdf5")
        from difftori_sim.demonstrations.from_hdf5 import import_hdf5

        words = arguments.from_hdf5, arguments.task, arguments.obs, out, arguments.episodes
        written = import_hdf5(*words)
        console.print(
            f"wrote {written.episodes} episodes, {written.steps} steps, to {out}; "
            f"{written.cut:.1%} of the action entries were cut to the box",
            soft_wrap=True,
        )
        return 0
    if arguments.episodes is None:
        arguments.episodes = EPISODES
    if arguments.first_seed is None:
        arguments.first_seed = TRAIN_SEEDS.start
    writable(out.with_name(out.name + ".tmp"))
    out.with_name(out.name + ".tmp").unlink()
    task = _ours(arguments)
    if task is not None and arguments.expert not in ("scripted", "random"):
        raise SuiteError(
            f"the arm of '{task.name}' is driven through its own stages, and what a checkpoint "
            "does there is not recorded: take --expert scripted"
        )
    if task is not None and arguments.expert == "scripted":
        from difftori_sim.demonstrations.record import record

        noise = 0.15 if arguments.noise is None else arguments.noise
        written, tried = record(
            task,
            arguments.obs,
            out,
            episodes=arguments.episodes,
            noise=noise,
            first_seed=arguments.first_seed,
        )
        console.print(f"wrote {written} episodes ({tried} tried) to {out}")
        return 0
    from difftori_sim.demonstrations.from_suite import record_suite

    noise = NOISE.get(arguments.suite, 0.0) if arguments.expert == "scripted" else 0.0
    noise = noise if arguments.noise is None else arguments.noise
    env = open_suite(arguments.suite, arguments.task, arguments.obs)
    try:
        made = record_suite(
            env,
            _demonstrator(arguments.expert, env, noise),
            out,
            episodes=arguments.episodes,
            first_seed=arguments.first_seed,
            noise=noise,
            command=_command(arguments, noise),
        )
    finally:
        env.close()
    console.print(
        f"wrote {made.written} episodes ({made.tried} tried), {made.steps} steps, mean return "
        f"{made.reward:.1f}, to {out}",
        soft_wrap=True,
    )
    return 0


def _demonstrator(expert: str, env: SuiteEnv, noise: float) -> Callable[[int], SuiteEpisode]:
    if expert == "scripted":
        return lambda seed: env.demonstrate(seed, noise)
    if expert == "random":
        import numpy as np

        low, high = np.array(env.info.action.low), np.array(env.info.action.high)

        def guess(seed: int) -> SuiteEpisode:
            rng = np.random.default_rng(seed)
            return roll_out(env, seed, lambda _: rng.uniform(low, high))

        return guess
    from difftori_sim.evaluation.suite import ChunkPolicy, check_fits

    folder = find_checkpoint(expert)
    planner = Planner(folder, graphs=ready_graphs(folder))
    check_fits(planner, env)
    policy = ChunkPolicy(planner)

    def plan(seed: int) -> SuiteEpisode:
        policy.reset()
        return roll_out(env, seed, policy, noise)

    return plan


def _evaluate(arguments: argparse.Namespace, console: Console) -> int:
    folder = arguments.checkpoint or str(home_of(arguments) / "train" / "checkpoint")
    common = {"episodes": arguments.episodes, "first_seed": arguments.first_seed}
    seed_range(**common)
    if arguments.json:
        writable(arguments.json)
    task, card = _ours(arguments), load_card(find_checkpoint(folder))
    refine, backend = not arguments.no_refine, arguments.backend
    if task is not None and card.task in available_tasks():
        seen = _seen(card.observation)
        if (card.task, seen) != (task.name, arguments.obs):
            raise SuiteError(
                f"checkpoint '{card.name}' is of {card.task} seen as {seen}, wanted was "
                f"{task.name} seen as {arguments.obs}"
            )
        result = evaluate_direct(folder, refine=refine, backend=backend, **common)
    else:
        from difftori_sim.evaluation.suite import evaluate

        where = find_checkpoint(folder)
        planner = Planner(where, backend=backend, graphs=ready_graphs(where, backend))
        env = open_suite(arguments.suite, arguments.task, arguments.obs)
        try:
            result = evaluate(planner, env, refine=refine, **common)
        finally:
            env.close()
    console.print(result.sentence, soft_wrap=True)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


def _seen(spec: ObservationSpec) -> str:
    """The variant that an observation spec is of."""
    if spec.points is not None:
        return "points"
    return "rgb" if spec.images else "state"


def _command(arguments: argparse.Namespace, noise: float) -> str:
    """The command that makes the same file again."""
    return (
        f"difftori collect --suite {arguments.suite} --task {arguments.task} "
        f"--obs {arguments.obs} --expert {arguments.expert} --episodes {arguments.episodes} "
        f"--noise {noise} --first-seed {arguments.first_seed}"
    )
