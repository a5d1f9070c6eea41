# SPDX-License-Identifier: MIT
"""Time per plan, per environment step and per update of reinforcement learning, beside its peers.

    python benchmarks/rl.py --quick --json out/rl.json

Networks of the paper's size on the trained problem `two hands` of `problems.py` (A 4, H 5), one
thread. All rows run in turn in one process; the figures are medians of CPU time, so that other
work on the machine counts little. Prints a Markdown table. JSON keys:

- `plan_ms_over_mppi`: time of TD-MPC's MPPI (6 iterations, 512 samples and 25 of pi, 64 elites) /
  time of our plan;
- `steps_per_s_over_reference`: environment steps per second, ours / the reference's. Its step is
  one solve by Theseus (layer built anew, encoder inside the cost) and the backward pass of -Q~
  through the last 5 iterations; 100 iterations, step 1e-4, damping 0.01 are its settings for 6 of
  its 15 tasks, more than any others. Ours is one plan, and the step's share of the same policy
  gradient taken once per episode for all its states in one solve. Updates from replay, which are
  the same work in both, are not in it;
- `steps_per_s_over_reference_default`: the same with the reference's default settings, 50
  iterations, of which Theseus does a few, since it takes single precision for convergence;
- `update_over_tdmpc`: time of TD-MPC's update / time of our update, in which the policy gradient
  is taken per update;
- `loop_over_reference`, `loop_over_tdmpc`: environment steps per second with one update per step
  in both; ours takes the policy gradient per episode;
- `gain`: how much of the gain over pi's plan each reaches, median over test states; 1 is the best
  of 100 iterations of `AdamBox`;
- `rows`: all figures; `machine`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout
from benchmarks.support.peers import require_theseus
from benchmarks.support.problems import DISCOUNT, TASKS, Trained, trained
from difftori_models.contract.world_model_settings import WorldSolver
from difftori_models.solver import AdamBox, BestSoFar, TheseusLM, solve
from difftori_models.solver.method import State
from difftori_models.solver.mppi import MPPI
from difftori_models.solver.problem import Problem
from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.learner import Learner
from difftori_models.training.rl.replay import EpisodeRecord, Replay
from difftori_models.world_model.planning import search, search_noise

EPISODE = 250
"""Steps of an episode whose policy gradient is one solve."""
BATCH = 512
"""Windows per update from states, as in the reference."""
COMMON = TheseusLM(100, 1e-4, 1e-2, target=1000.0, backward_iterations=5, tolerance=1e-8)
DEFAULT = TheseusLM(50, 1e-3, 1e-3, target=1000.0, backward_iterations=5, tolerance=1e-8)
"""The reference's settings for most tasks and its default ones, with Theseus' own early stop."""
STATES = 16
"""Test states on which plans are valued."""


class Bench:
    """Everything that is timed, on one set of weights."""

    def __init__(self, solved: Trained) -> None:
        task = solved.task
        states = solved.states(EPISODE, "test")
        self.seen = task.observe(states)
        width = self.seen.shape[1]
        config = RLConfig(
            "problems",
            "hands",
            Path("unused"),
            discount=DISCOUNT,
            batch=BATCH,
            horizon=5,
            horizon_steps=1,
            # twice the default, and longer: here the values are right, and MPPI's gain is reached
            iterations=6,
            step_size=0.8,
            pg="per_episode",
        )
        self.learner = self._learner(config, width, solved)
        self.per_update = self._learner(replace(config, pg="per_update"), width, solved)
        self.replay = Replay(4 * (EPISODE + 1), (width,), task.action)
        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (EPISODE, task.action)).astype(np.float32)
        rewards = rng.uniform(-1, 0, EPISODE).astype(np.float32)
        seen = np.concatenate([self.seen.numpy(), self.seen[:1].numpy()])
        for _ in range(3):
            self.replay.add(EpisodeRecord(seen, actions, rewards, False))
        self.rng, self.horizon = rng, 5
        self.value = TrajectoryValue(DISCOUNT, "min")
        self.sampling = WorldSolver(
            "mppi", iterations=MPPI.iterations, discount=DISCOUNT, terminal="min"
        )

    def rows(self) -> dict[str, tuple[Callable[[], Any], int]]:
        """What is timed, and how many environment steps or updates one call is."""
        return {
            "plan, ours": (self.plan, 1),
            "plan, MPPI": (self.sample, 1),
            "step, the reference": (lambda: self.reference(COMMON), 1),
            "step, the reference's default": (lambda: self.reference(DEFAULT), 1),
            "policy gradient of an episode, ours, per step": (self.episode, EPISODE),
            "update, TD-MPC": (lambda: self.update(self.learner), 1),
            "update, ours with the policy gradient": (lambda: self.update(self.per_update), 1),
        }

    def plan(self) -> None:
        """One plan as it acts in training."""
        self.learner.act(self.seen[0].numpy(), 10**6, explore=True)

    def sample(self) -> None:
        """The same by TD-MPC's planner."""
        with torch.no_grad():
            z = self.learner.model.h(self.seen[:1])
        MPPI.explore(self._searched(z))

    def reference(self, theirs: TheseusLM) -> None:
        """What the reference does at every environment step."""
        model, seen = self.learner.model, self.seen[:1]
        last, _ = theirs.solve(*self._as_they_call_it(seen))
        loss = -torch.minimum(*model.Q_raw(seen, last[:, 0])).sum()
        loss.backward()
        model.zero_grad()

    def gains(self) -> dict[str, float]:
        """How much each planner gains over pi, as a share of what there is to gain."""
        model, shares = self.learner.model, {"ours": [], "MPPI": [], "reference": []}
        for seen in tqdm(self.seen[:STATES].split(1), desc="gains", disable=None):
            problem, start = self._as_they_call_it(seen)
            theirs = COMMON.solve(problem, start)[1].detach()
            with torch.no_grad():
                z = model.h(seen)
                first = problem.evaluate(start)
                best = solve(problem, start, BestSoFar(AdamBox(100))).objective_after
                plans = {
                    "ours": self.learner.plan(z, self.horizon),
                    "MPPI": self._searched(z).actions,
                    "reference": problem.project(theirs),
                }
                for name, plan in plans.items():
                    share = (problem.evaluate(plan) - first) / (best - first)
                    shares[name].append(float(share))
        return {name: round(float(np.median(found)), 3) for name, found in shares.items()}

    @torch.no_grad()
    def _searched(self, z: Tensor) -> State:
        """Where TD-MPC's search from a latent (1, Z) ends, at the start of an episode."""
        world = self.learner.model.world
        noise = torch.randn(1, *search_noise(self.sampling, self.horizon, world.sizes.action))
        start = world.propose(z, self.horizon)
        return search(world, self.sampling, z, start, noise)

    def _as_they_call_it(self, seen: Tensor) -> tuple[Problem, Tensor]:
        """The planning problem of an observation, encoder and all, and pi's start."""
        model = self.learner.model

        def value(params: nn.Module, seen: Tensor, actions: Tensor) -> Tensor:
            del params
            return self.value(model.world, model.h(seen), actions)

        with torch.no_grad():
            start = model.world.propose(model.h(seen), self.horizon)
        high = torch.ones(start.shape[2])
        return Problem(value, -high, high, model, seen), start

    def episode(self) -> None:
        """The policy gradient on all states of an episode."""
        self.learner.update_on_episode(self.seen.numpy(), 10**6)

    def update(self, learner: Learner) -> None:
        """One update from replay."""
        batch = self.replay.sample(BATCH, self.horizon, self.rng)
        learner.update(batch, 10**6)

    @staticmethod
    def _learner(config: RLConfig, width: int, solved: Trained) -> Learner:
        learner = Learner(config, (width,), solved.task.action)
        for model in (learner.model, learner.target):
            model.encoder.load_state_dict(solved.learned.encoder.state_dict())
            model.world.load_state_dict(solved.learned.world.state_dict())
            for head in model.raw:
                nn.init.orthogonal_(head[-1].weight)  # type: ignore[index]
        return learner


def measure(bench: Bench, rounds: int) -> dict[str, float]:
    """Median CPU time of every row [ms per step or update]."""
    rows = bench.rows()
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for k in tqdm(range(rounds + 1), desc="rounds", disable=None):
        for name, (run, count) in rows.items():
            run()  # warms the caches for itself
            begin = time.process_time()
            run()
            if k:
                taken[name].append((time.process_time() - begin) * 1e3 / count)
    return {name: float(np.median(times)) for name, times in taken.items()}


def report_of(ms: dict[str, float]) -> dict[str, Any]:
    """The ratios."""
    plan, sampled, theirs, default, gradient, update, ours = ms.values()
    step = plan + gradient
    return {
        "plan_ms_over_mppi": round(sampled / plan, 2),
        "steps_per_s_over_reference": round(theirs / step, 2),
        "steps_per_s_over_reference_default": round(default / step, 2),
        "update_over_tdmpc": round(update / ours, 3),
        "loop_over_reference": round((theirs + update) / (step + update), 2),
        "loop_over_tdmpc": round((sampled + update) / (step + update), 2),
        "rows": {name: round(one, 3) for name, one in ms.items()},
        "mppi": {"iterations": MPPI.iterations, "samples": MPPI.samples, "elites": MPPI.elites},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}",
    }


def main() -> None:
    """Time everything, print it, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 30")
    parser.add_argument("--json", type=Path, help="write all figures there")
    arguments = parser.parse_args()
    require_theseus()
    warnings.simplefilter("ignore")  # Theseus uses what is deprecated
    torch.set_num_threads(1)
    torch.manual_seed(0)
    bench = Bench(trained(TASKS[0]))
    gains = bench.gains()  # before anything is updated
    report = report_of(measure(bench, 5 if arguments.quick else 30)) | {"gain": gains}
    lines = ["| what | ms of CPU time |", "|---|---|"]
    lines += [f"| {name} | {one:.2f} |" for name, one in report["rows"].items()]
    lines += ["", "| ratio | |", "|---|---|"]
    lines += [f"| {key} | {report[key]} |" for key in list(report)[:6]]
    lines += ["", "| planner | share of the gain |", "|---|---|"]
    lines += [f"| {name} | {one:.3f} |" for name, one in gains.items()]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
