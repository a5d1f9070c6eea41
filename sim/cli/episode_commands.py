# SPDX-License-Identifier: MIT
"""`difftori demo` and `difftori evaluate`: a checkpoint runs episodes, and success is counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.console import Console
from tyro.conf import FlagCreatePairsOff, arg

from difftori_models.contract.specs import ObservationSpec
from difftori_ros.config.paths import find_checkpoint
from difftori_sim.arm.tasks import TEST_SEEDS, available_tasks

from .options import (
    BackendName,
    Clock,
    Command,
    SuiteName,
    UsageError,
    Variant,
    own_task,
    require_episodes,
    suite_folder,
)

if TYPE_CHECKING:
    from difftori_sim.evaluation.results import Result
    from difftori_sim.evaluation.suite import Returns

CHECKPOINT = "pick_cube_points"


@dataclass(frozen=True)
class Demo(Command):
    """Drive the simulated arm through the ROS processes."""

    checkpoint: str = CHECKPOINT
    """Folder or shipped name."""
    episodes: int = 10
    """How many."""
    first_seed: int = TEST_SEEDS.start
    """Seed of the first episode; they go up by one."""
    json: Path | None = None
    """Write the result there."""
    domain: int | None = None
    """ROS domain; a random one by default."""
    clock: Clock = "lockstep"
    """Whether the world waits for every plan, or runs on the wall clock."""
    out: Path = Path("out/demo")
    """Folder of video and logs."""
    video: Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")] = True
    """Take no pictures; by default they are taken."""

    def run(self, console: Console) -> int:
        """Show the episodes; write the result."""
        from difftori_sim.evaluation.results import writable, write_json

        if self.json:
            writable(self.json)
        require_episodes(self.episodes)
        from .demo import run_demo

        result = run_demo(
            self.checkpoint,
            episodes=self.episodes,
            first_seed=self.first_seed,
            out=self.out,
            console=console,
            clock=self.clock,
            domain=self.domain,
            video=self.video,
        )
        if self.json:
            write_json(self.json, result)
        return 0


@dataclass(frozen=True)
class Evaluate(Command):
    """Measure the success of a checkpoint."""

    checkpoint: str | None = None
    """Folder or shipped name; pick_cube_points by default, with --suite what was trained there."""
    episodes: int = 50
    """How many."""
    first_seed: int = TEST_SEEDS.start
    """Seed of the first episode; they go up by one."""
    json: Path | None = None
    """Write the result there."""
    through: Literal["direct", "ros"] = "direct"
    """One process, or the three of a robot."""
    robot: str = "panda"
    """Robot profile: shipped name or YAML file."""
    clock: Clock = "lockstep"
    """Whether the world waits for every plan, or runs on the wall clock; through ros alone."""
    refine: Annotated[bool, FlagCreatePairsOff, arg(help_behavior_hint="")] = True
    """The base policy alone; by default the optimiser refines its actions."""
    backend: BackendName = "auto"
    """What runs the networks."""
    suite: SuiteName | None = None
    """Evaluate in this suite."""
    task: str | None = None
    """Task of --suite, by its name there."""
    obs: Variant = "state"
    """What is seen of --task."""

    def run(self, console: Console) -> int:
        """Evaluate, say what came of it, write it."""
        from difftori_sim.evaluation.results import writable, write_json

        if self.json:
            writable(self.json)
        require_episodes(self.episodes)
        result = self._of_arm() if self.suite is None else self._of_suite(self.suite)
        console.print(result.sentence, soft_wrap=True)
        if self.json:
            write_json(self.json, result)
        return 0

    def _of_arm(self) -> Result:
        if self.task is not None:
            raise UsageError(f"wanted --suite SUITE beside --task {self.task}, got none")
        checkpoint, common = self.checkpoint or CHECKPOINT, self._common()
        if self.through == "ros":
            from difftori_sim.evaluation.through_ros import evaluate_ros

            return evaluate_ros(checkpoint, clock=self.clock, robot=self.robot, **common)
        from difftori_sim.evaluation.direct import evaluate_direct

        return evaluate_direct(checkpoint, robot=self.robot, **common)

    def _of_suite(self, suite: str) -> Result | Returns:
        if self.task is None:
            raise UsageError(f"wanted --task TASK beside --suite {suite}, got none")
        for name in ("through", "robot", "clock"):
            if getattr(self, name) != getattr(Evaluate, name):
                raise UsageError(f"--{name} means nothing beside --suite: leave it out")
        from difftori_models.checkpoint import load_card
        from difftori_models.inference.graph_cache import ready_graphs
        from difftori_models.inference.planner import Planner
        from difftori_sim.evaluation.direct import evaluate_direct, seed_range
        from difftori_sim.evaluation.suite import evaluate
        from difftori_sim.suites import open_suite

        seed_range(self.first_seed, self.episodes)
        trained = suite_folder(suite, self.task, self.obs) / "train" / "checkpoint"
        folder = find_checkpoint(self.checkpoint or str(trained))
        card, task = load_card(folder), own_task(suite, self.task)
        if task is not None and card.task in available_tasks():
            seen = _variant(card.observation)
            if (card.task, seen) != (task.name, self.obs):
                raise ValueError(
                    f"checkpoint '{card.name}' is of {card.task} seen as {seen}, wanted was "
                    f"{task.name} seen as {self.obs}"
                )
            return evaluate_direct(folder, **self._common())
        planner = Planner(folder, backend=self.backend, graphs=ready_graphs(folder, self.backend))
        env = open_suite(suite, self.task, self.obs)
        try:
            return evaluate(
                planner,
                env,
                refine=self.refine,
                episodes=self.episodes,
                first_seed=self.first_seed,
            )
        finally:
            env.close()

    def _common(self) -> dict[str, Any]:
        return {
            "episodes": self.episodes,
            "first_seed": self.first_seed,
            "refine": self.refine,
            "backend": self.backend,
        }


def _variant(spec: ObservationSpec) -> Variant:
    """The variant that an observation spec is of."""
    if spec.points is not None:
        return "points"
    return "rgb" if spec.images else "state"
