# SPDX-License-Identifier: MIT
"""Everything a run of reinforcement learning depends on besides the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from difftori_models.contract.network_settings import RL_METHODS
from difftori_models.contract.world_model_settings import PLANNERS, TERMINALS
from difftori_models.training.errors import ConfigError
from difftori_models.training.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE_ABOVE_ZERO,
    Device,
    OneOf,
    PlainName,
    check_settings,
    require,
)

SCHEDULES = ("per_update", "per_episode", "none")
GRADIENT_PLANNERS = tuple(planner for planner in PLANNERS if planner != "mppi")
"""How DiffTORI can plan; the search is TD-MPC's."""


@dataclass(frozen=True)
class RLConfig:
    """Settings of one run; the same settings give the same weights and metrics.

    Steps are actions of the policy; where an action is repeated, each takes several of the
    simulator.
    """

    suite: str
    """Suite of the environment."""
    task: str
    """Task of the suite."""
    out: Path
    """Directory of the run. An unfinished run with the same settings there goes on."""
    method: Annotated[str, OneOf(*RL_METHODS)] = "difftori_rl"
    """`difftori_rl` plans by optimisation and learns through it; `tdmpc` plans by sampling."""
    obs: Annotated[str, OneOf("state", "rgb")] = "state"
    """What is seen: `state` or `rgb`."""
    name: str = ""
    """Name of the checkpoint; made of task and method when empty."""
    steps: Annotated[int, COUNT] = 50_000
    """Steps of the run."""
    seed_steps: int = 1000
    """Random steps in the beginning. The reference takes 5000."""
    seed: int = 0
    """Seed of every random draw."""
    update_every: Annotated[int, COUNT] = 1
    """Steps per update."""
    batch: Annotated[int, COUNT] = 256
    """Windows per update. The reference takes 512 from states, 256 from pixels."""
    capacity: Annotated[int, COUNT] = 200_000
    """Rows of the replay. The reference keeps a million."""
    discount: Annotated[float, SHARE_ABOVE_ZERO] = 0.99
    """gamma."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Learning rate of Adam; the reference takes 3e-4 from pixels."""
    lr_drop: int = 0
    """Step from which the learning rate is a tenth; 0 for none."""
    latent: Annotated[int, COUNT] = 50
    """Length of the latent."""
    hidden: Annotated[int, COUNT] = 512
    """Width of the world model."""
    encoder: Annotated[int, COUNT] = 256
    """Width of the state encoder."""
    horizon: Annotated[int, COUNT] = 5
    """Steps of a window and, in the end, of a plan."""
    horizon_steps: Annotated[int, COUNT] = 25_000
    """Steps over which plans grow from 1 to `horizon`."""
    std_first: Annotated[float, POSITIVE] = 0.5
    """Spread of the noise on actions in the beginning."""
    std_last: Annotated[float, POSITIVE] = 0.05
    """Spread of the noise in the end. It never goes: DiffTORI's reference explores with none."""
    std_steps: Annotated[int, COUNT] = 25_000
    """Steps over which the noise falls."""
    rho: Annotated[float, SHARE_ABOVE_ZERO] = 0.5
    """Weight of a step of a window relative to the one before it."""
    consistency: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the latents' consistency."""
    reward: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the reward's error."""
    value: Annotated[float, NOT_NEGATIVE] = 0.1
    """Weight of the errors of Q, and of Q~."""
    tau: Annotated[float, SHARE_ABOVE_ZERO] = 0.01
    """Share of the new weights in the targets, every second update."""
    grad_clip: Annotated[float, POSITIVE] = 10.0
    """Largest norm of a gradient."""
    planner: Annotated[str, OneOf(*GRADIENT_PLANNERS)] = "normalised_gradient"
    """How DiffTORI plans: `normalised_gradient`, `lm_rank1` or `adam_box`."""
    iterations: Annotated[int, COUNT] = 3
    """Iterations of a plan."""
    step_size: Annotated[float, POSITIVE] = 0.3
    """First step length of `normalised_gradient` and `adam_box`; every one of the others."""
    damping: Annotated[float, NOT_NEGATIVE] = 1e-3
    """Damping of `lm_rank1`."""
    ceiling: float = 1000.0
    """What `lm_rank1` aims at. The run ends with an error before a value reaches it."""
    terminal: Annotated[str, OneOf(*TERMINALS)] = "soft"
    """How two Q become one at the end of a plan: `soft` or `min`."""
    in_graph: Annotated[int, NOT_NEGATIVE] = 0
    """Last iterations that are differentiated; 0 for all of them. The reference takes 5."""
    pg: Annotated[str, OneOf(*SCHEDULES)] = "per_update"
    """When the policy gradient through the plan is taken: `per_update` on replayed states (the
    paper's equation 6), `per_episode` on the episode's states (its code), or `none`."""
    pg_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the policy gradient, c0."""
    pg_batch: Annotated[int, COUNT] = 16
    """Windows of an update whose states the policy gradient is taken on, all in one solve."""
    pg_every: Annotated[int, COUNT] = 1
    """Updates per policy gradient of `per_update`; more than one is cheaper than the paper."""
    pg_clip: Annotated[float, POSITIVE] = 100.0
    """Largest norm of the gradient of `per_episode`."""
    eval_every: Annotated[int, COUNT] = 5000
    """Steps between two evaluations, without noise."""
    eval_episodes: Annotated[int, COUNT] = 5
    """Episodes of an evaluation."""
    save_every: Annotated[int, COUNT] = 2500
    """Steps between two saved states."""
    checkpoint: Annotated[str, OneOf("best", "average")] = "best"
    """Networks that the checkpoint has: of the `best` evaluation, or the running `average` at the
    end, which is steadier."""
    threads: Annotated[int, COUNT] = 1
    """torch threads."""
    device: Annotated[str, Device()] = "cpu"
    """torch device."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(PlainName(), "name", self.label)
        check_settings(self)
        if self.seed_steps < self.horizon:
            raise ConfigError(
                f"seed_steps must be at least the horizon {self.horizon}, got {self.seed_steps}"
            )
        if self.steps < self.seed_steps:
            raise ConfigError(
                f"steps must be at least seed_steps, {self.seed_steps}, got {self.steps}: those "
                "are random, and nothing is learned before their end"
            )

    @property
    def label(self) -> str:
        """Name of the run and its checkpoint."""
        plain = "".join(c if c.isalnum() else "_" for c in self.task)
        return self.name or f"{plain}_{self.method}".lower()

    def horizon_at(self, step: int) -> int:
        """Steps of a plan: linear from 1 (DiffTORI, appendix B)."""
        along = min(step / self.horizon_steps, 1.0)
        return int(1 + along * (self.horizon - 1))

    def lr_at(self, step: int) -> float:
        """Learning rate of Adam."""
        return self.lr * (0.1 if 0 < self.lr_drop <= step else 1.0)

    def std_at(self, step: int) -> float:
        """Spread of the noise on actions."""
        along = min(step / self.std_steps, 1.0)
        return self.std_first + along * (self.std_last - self.std_first)


PAPER: dict[str, tuple[int, float, float]] = {
    "cartpole-swingup-sparse": (50, 1e-3, 0.5),
    "cheetah-run": (100, 1e-4, 0.001),
    "cup-catch": (100, 1e-4, 0.01),
    "finger-spin": (100, 1e-4, 0.01),
    "finger-turn-easy": (50, 1e-3, 0.1),
    "finger-turn-hard": (50, 1e-3, 0.1),
    "hopper-stand": (50, 1e-3, 0.01),
    "pendulum-swingup": (100, 1e-4, 0.001),
    "quadruped-run": (100, 1e-4, 0.1),
    "quadruped-walk": (100, 1e-4, 0.1),
    "reacher-easy": (100, 1e-4, 0.01),
    "reacher-hard": (100, 1e-4, 0.01),
    "walker-run": (200, 3e-5, 0.001),
    "walker-stand": (100, 1e-4, 0.01),
    "walker-walk": (100, 1e-4, 0.01),
}
"""Iterations, step size and damping of the reference's solver per task (its mbrl/cfgs/tasks)."""


PAPER_OTHER = (50, 1e-3, 1e-3)
"""The same for tasks that the reference does not have."""


def presets(task: str) -> dict[str, dict[str, Any]]:
    """Settings by the name of a preset: `paper` has the reference's solver, kept in the box."""
    iterations, step_size, damping = PAPER.get(task, PAPER_OTHER)
    paper = {
        "planner": "lm_rank1",
        "iterations": iterations,
        "step_size": step_size,
        "damping": damping,
        "terminal": "min",
        "in_graph": 5,
    }
    return {"ours": {}, "paper": paper}
