# SPDX-License-Identifier: MIT
"""Everything a run of reinforcement learning depends on besides the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from difftori_models.contract.network_settings import RL_METHODS
from difftori_models.contract.world_model_settings import PLANNERS
from difftori_models.training.validation import (
    ConfigError,
    require_at_least,
    require_device,
    require_known,
    require_plain_name,
    require_positive,
)

SCHEDULES = ("per_update", "per_episode", "none")
PRESETS = ("ours", "paper")
"""`paper` changes defaults: the reference's solver with its numbers for the task, in the box."""


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
    method: str = "difftori_rl"
    """`difftori_rl` plans by optimisation and learns through it; `tdmpc` plans by sampling."""
    obs: str = "state"
    """What is seen: `state` or `rgb`."""
    name: str = ""
    """Name of the checkpoint; made of task and method when empty."""
    steps: int = 50_000
    """Steps of the run."""
    seed_steps: int = 1000
    """Random steps in the beginning. The reference takes 5000."""
    seed: int = 0
    """Seed of every random draw."""
    update_every: int = 1
    """Steps per update."""
    batch: int = 256
    """Windows per update. The reference takes 512 from states, 256 from pixels."""
    capacity: int = 200_000
    """Rows of the replay. The reference keeps a million."""
    discount: float = 0.99
    """gamma."""
    lr: float = 1e-3
    """Learning rate of Adam; the reference takes 3e-4 from pixels."""
    lr_drop: int = 0
    """Step from which the learning rate is a tenth; 0 for none."""
    latent: int = 50
    """Length of the latent."""
    hidden: int = 512
    """Width of the world model."""
    encoder: int = 256
    """Width of the state encoder."""
    horizon: int = 5
    """Steps of a window and, in the end, of a plan."""
    horizon_steps: int = 25_000
    """Steps over which plans grow from 1 to `horizon`."""
    std_first: float = 0.5
    """Spread of the noise on actions in the beginning."""
    std_last: float = 0.05
    """Spread of the noise in the end. It never goes: DiffTORI's reference explores with none."""
    std_steps: int = 25_000
    """Steps over which the noise falls."""
    rho: float = 0.5
    """Weight of a step of a window relative to the one before it."""
    consistency: float = 2.0
    """Weight of the latents' consistency."""
    reward: float = 0.5
    """Weight of the reward's error."""
    value: float = 0.1
    """Weight of the errors of Q, and of Q~."""
    tau: float = 0.01
    """Share of the new weights in the targets, every second update."""
    grad_clip: float = 10.0
    """Largest norm of a gradient."""
    planner: str = "normalised_gradient"
    """How DiffTORI plans: `normalised_gradient`, `lm_rank1`, `projected_gradient`, `adam_box`."""
    iterations: int = 3
    """Iterations of a plan."""
    step_size: float = 0.3
    """First step length of `normalised_gradient` and `adam_box`; every one of the others."""
    damping: float = 1e-3
    """Damping of `lm_rank1`."""
    ceiling: float = 1000.0
    """What `lm_rank1` aims at. The run ends with an error before a value reaches it."""
    terminal: str = "soft"
    """How two Q become one at the end of a plan: `soft`, `mean`, `min`."""
    in_graph: int = 0
    """Last iterations that are differentiated; 0 for all of them. The reference takes 5."""
    pg: str = "per_update"
    """When the policy gradient through the plan is taken: `per_update` on replayed states (the
    paper's equation 6), `per_episode` on the episode's states (its code), or `none`."""
    pg_weight: float = 1.0
    """Weight of the policy gradient, c0."""
    pg_batch: int = 16
    """Windows of an update whose states the policy gradient is taken on, all in one solve."""
    pg_every: int = 1
    """Updates per policy gradient of `per_update`; more than one is cheaper than the paper."""
    pg_clip: float = 100.0
    """Largest norm of the gradient of `per_episode`."""
    eval_every: int = 5000
    """Steps between two evaluations, without noise."""
    eval_episodes: int = 5
    """Episodes of an evaluation."""
    save_every: int = 2500
    """Steps between two saved states."""
    checkpoint: str = "best"
    """Networks that the checkpoint has: of the `best` evaluation, or the running `average` at the
    end, which is steadier."""
    threads: int = 1
    """torch threads."""
    device: str = "cpu"
    """torch device."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require_plain_name(self.label)
        require_device(self.device)
        require_known(
            self,
            method=RL_METHODS,
            obs=("state", "rgb"),
            planner=tuple(p for p in PLANNERS if p != "mppi"),
            terminal=("soft", "mean", "min"),
            pg=SCHEDULES,
            checkpoint=("best", "average"),
        )
        counts = ("steps", "update_every", "batch", "capacity", "latent", "hidden", "encoder")
        plans = ("horizon", "horizon_steps", "std_steps", "iterations", "pg_batch", "pg_every")
        told = ("eval_every", "eval_episodes", "save_every", "threads")
        require_at_least(self, 1, *counts, *plans, *told)
        if self.seed_steps < self.horizon:
            raise ConfigError(
                f"seed_steps must be at least the horizon {self.horizon}, got {self.seed_steps}"
            )
        if self.steps < self.seed_steps:
            raise ConfigError(
                f"steps must be at least seed_steps, {self.seed_steps}, got {self.steps}: those "
                "are random, and nothing is learned before their end"
            )
        require_positive(self, "lr", "step_size", "std_first", "grad_clip", "pg_clip")
        weights = ("in_graph", "consistency", "reward", "value", "pg_weight", "damping")
        require_at_least(self, 0, *weights)
        for key in ("discount", "rho", "tau"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"{key} must lie in (0, 1], got {getattr(self, key)}")
        if not self.std_last > 0:
            raise ConfigError(f"std_last must be positive, got {self.std_last}: noise must stay")

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


def preset(name: str, task: str) -> dict[str, Any]:
    """The settings of a preset for a task.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset '{name}'; known: {', '.join(PRESETS)}")
    if name == "ours":
        return {}
    iterations, step_size, damping = PAPER.get(task, PAPER_OTHER)
    return {
        "planner": "lm_rank1",
        "iterations": iterations,
        "step_size": step_size,
        "damping": damping,
        "terminal": "min",
        "in_graph": 5,
    }
