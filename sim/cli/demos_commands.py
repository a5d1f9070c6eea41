# SPDX-License-Identifier: MIT
"""`difftori demos record|import|show`: files of demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from tyro.conf import Positional

from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import TRAIN_SEEDS, Task
from difftori_sim.suites import ARM

from .options import (
    Command,
    PolicyTopics,
    SuiteName,
    UsageError,
    Variant,
    own_task,
    policy_values,
    remaps_of,
    require_episodes,
    suite_folder,
)

if TYPE_CHECKING:
    from difftori_sim.suites.env import SuiteEnv, SuiteEpisode

NOISE = {ARM: 0.15, "metaworld": 0.1, "robomimic": 0.1}
"""Noise on what a scripted expert executes, unless the command line says otherwise [network
units]; none where a motion planner follows a plan that it does not mend."""
SCRIPTED, RANDOM = "scripted", "random"


@dataclass(frozen=True)
class DemosRecord(Command):
    """Record demonstrations of an expert, on the simulated arm or in a suite."""

    task: str
    """Task of the suite, by its name there."""
    suite: SuiteName = ARM
    """Suite; robot is this package's own simulated arm."""
    obs: Variant = "state"
    """What is seen."""
    out: Path | None = None
    """The .npz file; out/SUITE.TASK.OBS/demos.npz by default."""
    episodes: int = 50
    """How many to write; where there is such a thing as success, successful ones."""
    first_seed: int = TRAIN_SEEDS.start
    """First seed that is tried; they go up by one."""
    noise: float | None = None
    """On executed actions [network units]: 0.15 by default on the arm, 0.1 in metaworld and
    robomimic, else none."""
    expert: str = SCRIPTED
    """Who demonstrates: scripted, random, or a checkpoint's folder."""

    def run(self, console: Console) -> int:
        """Record; say what was written."""
        from difftori_sim.evaluation.results import writable

        require_episodes(self.episodes)
        task = own_task(self.suite, self.task)
        known = (SCRIPTED,) if self.suite == ARM else (SCRIPTED, RANDOM)
        if task is not None and self.expert not in known:
            raise ValueError(
                f"the arm of '{task.name}' is driven through its own stages, and nothing but its "
                f"expert is recorded there: wanted --expert {SCRIPTED}, got {self.expert}"
            )
        out = self.out or suite_folder(self.suite, self.task, self.obs) / "demos.npz"
        partial = out.with_name(out.name + ".tmp")
        writable(partial)
        partial.unlink()
        if task is not None and self.expert == SCRIPTED:
            told = self._of_arm(task, out)
        else:
            told = self._of_suite(out)
        console.print(f"{told}, to {out}", soft_wrap=True, markup=False)
        return 0

    def _of_arm(self, task: Task, out: Path) -> str:
        from difftori_sim.demonstrations.record import record

        written, tried = record(
            task,
            self.obs,
            out,
            episodes=self.episodes,
            noise=NOISE[ARM] if self.noise is None else self.noise,
            first_seed=self.first_seed,
        )
        return f"wrote {written} episodes ({tried} tried)"

    def _of_suite(self, out: Path) -> str:
        from difftori_sim.demonstrations.from_suite import record_suite
        from difftori_sim.suites import open_suite

        usual = NOISE.get(self.suite, 0.0) if self.expert == SCRIPTED else 0.0
        noise = usual if self.noise is None else self.noise
        env = open_suite(self.suite, self.task, self.obs)
        try:
            made = record_suite(
                env,
                _demonstrator(self.expert, env, noise),
                out,
                episodes=self.episodes,
                first_seed=self.first_seed,
                noise=noise,
                command=f"difftori demos record --suite {self.suite} --task {self.task} "
                f"--obs {self.obs} --expert {self.expert} --episodes {self.episodes} "
                f"--noise {noise} --first-seed {self.first_seed}",
            )
        finally:
            env.close()
        return (
            f"wrote {made.written} episodes ({made.tried} tried), {made.steps} steps, mean return "
            f"{made.reward:.1f}"
        )


@dataclass(frozen=True, kw_only=True)
class ImportBag(PolicyTopics):
    """Make demonstrations of recorded bags: what the policy would have seen, what the arm did."""

    bags: Positional[tuple[Path, ...]]
    """rosbag2 folders or .mcap files."""
    out: Path
    """The .npz file."""
    trigger: Literal["timer", "observation"] | None = None
    """Overrides the parameter `trigger` of the configuration."""

    def run(self, console: Console) -> int:
        """Import; say what was written and what was left out."""
        if not self.bags:
            raise UsageError("wanted at least one bag, got none")
        from tqdm import tqdm

        from difftori_ros.robot.profile import load_profile
        from difftori_ros.tools.bag_to_demos import import_bags

        remaps, card, profile = remaps_of(self.remap), self.card(), load_profile(self.robot)
        values = policy_values(self.config_file)
        if self.trigger is not None:
            values["trigger"] = self.trigger
        with tqdm(total=len(self.bags), desc="import", unit="bag", disable=None) as bar:
            made = import_bags(
                self.bags,
                card,
                profile,
                self.out,
                values=values,
                remaps=remaps,
                command=self._words(),
                on_bag=lambda _: bar.update(),
            )
        told = f"wrote {made.episodes} episodes, {made.steps} steps, to {self.out}"
        if made.cut:
            told += f"; {100 * made.cut:.0f} % of the actions were cut to the action space"
        if made.refusals:
            counts = ", ".join(f"{reason} {count}" for reason, count in made.refusals.items())
            told += f"; observations that were due and not there: {counts}"
        console.print(told, soft_wrap=True, markup=False)
        return 0

    def _words(self) -> str:
        """The command that makes the same file again."""
        words = ["difftori demos import bag", *map(str, self.bags)]
        for name in ("checkpoint", "task", "obs", "robot", "config_file", "trigger"):
            value = getattr(self, name)
            if value is not None and not (name == "obs" and self.checkpoint):
                words.append(f"--{name.replace('_', '-')} {value}")
        return " ".join([*words, *(f"--remap {text}" for text in self.remap)])


@dataclass(frozen=True, kw_only=True)
class ImportHdf5(Command):
    """Make demonstrations of a file in Robomimic's layout."""

    file: Positional[Path]
    """The .hdf5 file."""
    task: str
    """Robomimic's task that the file must be of, such as Square."""
    obs: Literal["state", "rgb"] = "state"
    """What is seen."""
    out: Path | None = None
    """The .npz file; out/robomimic.TASK.OBS/demos.npz by default."""
    episodes: int | None = None
    """How many, the first ones; all of them by default."""

    def run(self, console: Console) -> int:
        """Import; say what was written."""
        if self.episodes is not None:
            require_episodes(self.episodes)
        from difftori_sim.demonstrations.from_hdf5 import import_hdf5

        out = self.out or suite_folder("robomimic", self.task, self.obs) / "demos.npz"
        written = import_hdf5(self.file, self.task, self.obs, out, self.episodes)
        console.print(
            f"wrote {written.episodes} episodes, {written.steps} steps, to {out}; "
            f"{written.cut:.1%} of the action entries were cut to the box",
            soft_wrap=True,
        )
        return 0


@dataclass(frozen=True)
class DemosShow(Command):
    """Show what a file of demonstrations holds, and the command that made it."""

    file: Positional[Path]
    """The .npz file."""

    def run(self, console: Console) -> int:
        """Show the table."""
        from difftori_models.data import load_demos

        from .demos_table import demos_table

        console.print(demos_table(load_demos(self.file)))
        return 0


def _demonstrator(expert: str, env: SuiteEnv, noise: float) -> Callable[[int], SuiteEpisode]:
    """From a seed to an episode of the expert."""
    from difftori_sim.suites.env import roll_out

    if expert == SCRIPTED:
        return lambda seed: env.demonstrate(seed, noise)
    if expert == RANDOM:
        import numpy as np

        low, high = np.array(env.info.action.low), np.array(env.info.action.high)

        def guess(seed: int) -> SuiteEpisode:
            rng = np.random.default_rng(seed)
            return roll_out(env, seed, lambda _: rng.uniform(low, high))

        return guess
    from difftori_models.inference.graph_cache import ready_graphs
    from difftori_models.inference.planner import Planner
    from difftori_sim.evaluation.suite import ChunkPolicy, check_fits

    folder = find_checkpoint(expert)
    planner = Planner(folder, graphs=ready_graphs(folder))
    check_fits(planner, env)
    policy = ChunkPolicy(planner)

    def plan(seed: int) -> SuiteEpisode:
        policy.reset()
        return roll_out(env, seed, policy, noise)

    return plan
