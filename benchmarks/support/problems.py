# SPDX-License-Identifier: MIT
"""Trained problems to measure solvers on: small control tasks, and world models learned on them.

A random network is not what a solver meets. Each task here is a few lines of batched simulation;
an encoder and a `WorldModel` are trained on it as in TD-MPC (Hansen et al. 2022): consistency of
latents, reward, two Q towards TD targets, and a policy prior that climbs the smaller Q. The states
to train on, to tune a solver on and to report on are drawn with different seeds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from difftori_models.solver.problem import Problem
from difftori_models.solver.trajectory_value import TrajectoryValue
from difftori_models.world_model.trajectory_gradient import TrajectoryGradient
from difftori_models.world_model.world_model import WorldModel, WorldModelSizes

FOLDER = Path(__file__).resolve().parents[2] / "out" / "problems"
SEEDS = {"train": 0, "validation": 1, "test": 2}
DISCOUNT = 0.8


@dataclass(frozen=True)
class Task:
    """A batched simulator; actions are in [-1, 1].

    Attributes:
        name: What it is called in tables.
        action: Length of an action, A.
        horizon: Actions of a plan, H.
        reset: States (n, S) drawn with a generator.
        step: The next state and the reward (n,) of states and actions.
        observe: What the encoder sees of states.
    """

    name: str
    action: int
    horizon: int
    reset: Callable[[int, torch.Generator], Tensor]
    step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    observe: Callable[[Tensor], Tensor]


def _uniform(shape: tuple[int, ...], low: float, high: float, source: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=source)


def _distance(x: Tensor) -> Tensor:
    return (x.square().sum(dim=-1) + 1e-3).sqrt()


def _bump(x: Tensor, width: float) -> Tensor:
    """1 in the middle of an obstacle, 0 far from it."""
    return torch.exp(-x.square().sum(dim=-1) / width**2)


def _hands_reset(count: int, source: torch.Generator) -> Tensor:
    return _uniform((count, 10), -1.0, 1.0, source)


def _hands_step(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    hands, goals, obstacle = state[:, :4], state[:, 4:8], state[:, 8:]
    hands = (hands + 0.25 * action).clamp(-1.2, 1.2)
    one, two = hands[:, :2], hands[:, 2:]
    reward = -_distance(goals[:, :2] - one) - _distance(goals[:, 2:] - two)
    reward = (
        reward - _bump(one - obstacle, 0.4) - _bump(two - obstacle, 0.4) - _bump(one - two, 0.3)
    )
    reward = 0.5 * reward - 0.02 * action.square().sum(dim=1)
    return torch.cat([hands, goals, obstacle], dim=1), reward


def _hands_observe(state: Tensor) -> Tensor:
    hands, goals, obstacle = state[:, :4], state[:, 4:8], state[:, 8:]
    return torch.cat([hands, goals - hands, hands - obstacle.repeat(1, 2)], dim=1)


def _arm_reset(count: int, source: torch.Generator) -> Tensor:
    joints = _uniform((count, 7), -1.0, 1.0, source)
    angle = _uniform((count,), -math.pi, math.pi, source)
    radius = _uniform((count,), 0.2, 0.9, source)
    goal = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return torch.cat([joints, goal], dim=1)


def _arm_tip(joints: Tensor) -> Tensor:
    heading = joints.cumsum(dim=1)
    return torch.stack([heading.cos().mean(dim=1), heading.sin().mean(dim=1)], dim=1)


def _arm_step(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    joints, goal = state[:, :7] + 0.2 * action, state[:, 7:]
    reward = -_distance(goal - _arm_tip(joints)) - 0.01 * action.square().sum(dim=1)
    return torch.cat([joints, goal], dim=1), reward


def _arm_observe(state: Tensor) -> Tensor:
    joints, goal = state[:, :7], state[:, 7:]
    return torch.cat([joints.cos(), joints.sin(), goal, goal - _arm_tip(joints)], dim=1)


def _cart_reset(count: int, source: torch.Generator) -> Tensor:
    place = _uniform((count, 4), -1.0, 1.0, source)
    return torch.cat([place, _uniform((count, 1), -math.pi, math.pi, source)], dim=1)


def _cart_step(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    place, obstacle, heading = state[:, :2], state[:, 2:4], state[:, 4]
    heading = heading + 0.6 * action[:, 1]
    ahead = torch.stack([heading.cos(), heading.sin()], dim=1)
    place = (place + 0.25 * action[:, :1] * ahead).clamp(-1.5, 1.5)
    turned = (1 - heading.cos()) * _bump(place, 0.5)
    reward = -_distance(place) - _bump(place - obstacle, 0.4) - 0.5 * turned
    reward = reward - 0.02 * action.square().sum(dim=1)
    return torch.cat([place, obstacle, heading[:, None]], dim=1), reward


def _cart_observe(state: Tensor) -> Tensor:
    """The places of goal and obstacle as the cart sees them, and where it looks."""
    place, obstacle, heading = state[:, :2], state[:, 2:4], state[:, 4:]
    ahead = torch.cat([heading.cos(), heading.sin()], dim=1)
    aside = torch.stack([-ahead[:, 1], ahead[:, 0]], dim=1)
    seen = [(x * axis).sum(1, True) for x in (-place, obstacle - place) for axis in (ahead, aside)]
    return torch.cat([*seen, ahead], dim=1)


TASKS = (
    Task("two hands, A4 H5", 4, 5, _hands_reset, _hands_step, _hands_observe),
    Task("planar arm, A7 H8", 7, 8, _arm_reset, _arm_step, _arm_observe),
    Task("parking cart, A2 H5", 2, 5, _cart_reset, _cart_step, _cart_observe),
)
"""Two points that shall not meet, each with a goal; seven joints with a goal for the tip; a
unicycle that parks facing east. An obstacle is in the way in the first and in the last."""


@dataclass(frozen=True)
class Training:
    """How a world model is learned.

    Attributes:
        steps: Adam steps.
        batch: Short trajectories per step.
        latent: Length of z.
        hidden: Width of the world model.
        lr: Learning rate.
        rho: Weight of a time step relative to the one before it.
        tau: Share of the new weights in the target networks, per step.
    """

    steps: int = 300
    batch: int = 64
    latent: int = 50
    hidden: int = 512
    lr: float = 1e-3
    rho: float = 0.8
    tau: float = 0.05


class Learned(nn.Module):
    """An encoder and a world model."""

    def __init__(self, task: Task, training: Training) -> None:
        super().__init__()
        width = task.observe(task.reset(1, torch.Generator())).shape[1]
        self.encoder = nn.Sequential(
            nn.Linear(width, 256), nn.ELU(), nn.Linear(256, training.latent)
        )
        sizes = WorldModelSizes(task.action, training.latent, training.hidden)
        self.world = WorldModel(sizes)


@dataclass(frozen=True)
class Trained:
    """A task, what was learned on it, and problems made of that."""

    task: Task
    learned: Learned

    def states(self, count: int, split: str) -> Tensor:
        """Simulator states of `train`, `validation` or `test`."""
        return self.task.reset(count, torch.Generator().manual_seed(SEEDS[split]))

    def problem(self, states: Tensor, terminal: str) -> tuple[Problem, Tensor]:
        """The planning problem of these states, and the policy prior's start (B, H, A)."""
        world, value = self.learned.world, TrajectoryValue(DISCOUNT, terminal)
        with torch.no_grad():
            z = self.learned.encoder(self.task.observe(states))
            start = world.propose(z, self.task.horizon)
        high = torch.ones(self.task.action)
        return Problem(value, -high, high, world, z, TrajectoryGradient(value)), start

    def reward_of(self, states: Tensor, actions: Tensor) -> Tensor:
        """Discounted reward in the simulator of action sequences (B, H, A), shape (B,)."""
        total = torch.zeros(len(states))
        for t, action in enumerate(actions.unbind(1)):
            states, reward = self.task.step(states, action)
            total = total + DISCOUNT**t * reward
        return total


def trained(task: Task, training: Training = Training(), folder: Path = FOLDER) -> Trained:
    """The task's problem, from `folder` if it was trained there before."""
    settings = json.dumps({"task": task.name, **asdict(training)}, sort_keys=True)
    digest = hashlib.sha256(settings.encode() + Path(__file__).read_bytes()).hexdigest()
    path = folder / f"{digest[:16]}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(SEEDS["train"])
        learned = Learned(task, training)
        if path.is_file():
            learned.load_state_dict(load_file(path))
        else:
            _train(task, training, learned)
            folder.mkdir(parents=True, exist_ok=True)
            save_file(learned.state_dict(), path, {"settings": settings})
    return Trained(task, learned.eval().requires_grad_(False))


def _train(task: Task, training: Training, learned: Learned) -> None:
    source = torch.Generator().manual_seed(SEEDS["train"])
    target = copy.deepcopy(learned).requires_grad_(False)
    prior = list(learned.world.policy.parameters())
    rest = [p for name, p in learned.named_parameters() if not name.startswith("world.policy")]
    optimiser = torch.optim.Adam(rest, training.lr)
    of_prior = torch.optim.Adam(prior, 0.2 * training.lr)  # it saturates on an early Q otherwise
    state = task.reset(training.batch, source)
    for _ in tqdm(range(training.steps), desc=f"training: {task.name}"):
        fresh = torch.rand(training.batch, 1, generator=source) < 0.3
        state = torch.where(fresh, task.reset(training.batch, source), state)
        seen, actions, rewards, state = _experience(task, learned, state, source)
        loss, latents = _loss(training, learned, target, seen, actions, rewards)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(rest, 10.0)
        optimiser.step()
        world = learned.world
        one, two = world.Q(latents, world.pi(latents))
        weights = training.rho ** torch.arange(len(latents))
        of_prior.zero_grad()
        (-(weights[:, None] * torch.minimum(one, two)).mean()).backward(inputs=prior)
        of_prior.step()
        with torch.no_grad():
            for old, new in zip(target.parameters(), learned.parameters(), strict=True):
                old.lerp_(new, training.tau)


@torch.no_grad()
def _experience(
    task: Task, learned: Learned, state: Tensor, source: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Observations (H + 1, B, O), actions, rewards and last state; half of it by the prior."""
    seen, actions, rewards = [task.observe(state)], [], []
    half = len(state) // 2
    # A planner pushes against the bounds, and for long: so does half of the experience.
    held = _uniform((len(state) - half, task.action), -2.0, 2.0, source)
    for _ in range(task.horizon):
        noise = torch.randn(half, task.action, generator=source)
        prior = learned.world.pi(learned.encoder(seen[-1][:half])) + 0.3 * noise
        random = held + _uniform(held.shape, -1.0, 1.0, source)
        action = torch.cat([prior, random]).clamp(-1, 1)
        state, reward = task.step(state, action)
        seen.append(task.observe(state))
        actions.append(action)
        rewards.append(reward)
    return torch.stack(seen), torch.stack(actions), torch.stack(rewards), state


def _loss(
    training: Training,
    learned: Learned,
    target: Learned,
    seen: Tensor,
    actions: Tensor,
    rewards: Tensor,
) -> tuple[Tensor, Tensor]:
    """TD-MPC's loss with its weights, and the latents it went through, detached."""
    world, horizon = learned.world, len(actions)
    with torch.no_grad():
        following = learned.encoder(seen[1:])
        goal = target.encoder(seen[1:])
        q = torch.minimum(*target.world.Q(following, world.pi(following)))
        q = rewards + DISCOUNT * q
    latents = [learned.encoder(seen[0])]
    for t in range(horizon):
        latents.append(world.next(latents[t], actions[t]))
    z = torch.stack(latents)
    weights = (training.rho ** torch.arange(horizon))[:, None]
    consistency = functional.mse_loss(z[1:], goal, reduction="none").mean(dim=2)
    reward = functional.mse_loss(world.reward(z[:-1], actions), rewards, reduction="none")
    value = sum(functional.mse_loss(one, q, reduction="none") for one in world.Q(z[:-1], actions))
    loss = (weights * (2.0 * consistency + 0.5 * reward + 0.1 * value)).sum(dim=0).mean()
    return loss, z.detach()
