# SPDX-License-Identifier: MIT
"""The networks with their optimisers: acts, and learns from batches."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftori_models.contract.features import episode_noise
from difftori_models.solver.method import solve
from difftori_models.solver.mppi import MPPI
from difftori_models.training.run_state import (
    of_prefix,
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
)
from difftori_models.world_model.planning import (
    require_below_ceiling,
    search,
    search_noise,
    world_method,
    world_problem,
)
from difftori_models.world_model.world_model import WorldModelSizes

from .config import RLConfig
from .losses import Windows, model_loss, planned_loss, prior_loss, solver_of
from .networks import TOLD, Sizes, shifted
from .replay import Batch


class Learner:
    """TD-MPC or DiffTORI.

    Attributes:
        model: All networks.
        target: Their running average.
        updates: Updates done.
    """

    def __init__(self, config: RLConfig, observation: tuple[int, ...], action: int) -> None:
        self.config, self.updates, self._action = config, 0, action
        world = WorldModelSizes(action, config.latent, config.hidden)
        self.model = TOLD(Sizes(observation, world, config.encoder)).to(config.device)
        self.target = copy.deepcopy(self.model).requires_grad_(False)
        prior = list(self.model.world.policy.parameters())
        known = {id(p) for p in prior}
        self._prior = prior
        self._rest = [p for p in self.model.parameters() if id(p) not in known]
        raw = {id(p) for part in (self.model.raw, self.model.see) for p in part.parameters()}
        self._planned = [p for p in self._rest if id(p) not in raw]
        # One for the losses, one for pi, one for the policy gradient of `per_episode`.
        self._optimizers = {
            "losses": torch.optim.Adam(self._rest, config.lr, fused=True),
            "prior": torch.optim.Adam(prior, config.lr, fused=True),
            "episode": torch.optim.Adam(self._planned, config.lr, fused=True),
        }
        self._settings = solver_of(config)
        self._method = world_method(self._settings)
        self._last: Tensor | None = None
        self._noise_seed = 0

    def begin_episode(self, seed: int = 0) -> None:
        """The last plan is forgotten; `seed` is of the noise of plans that do not explore."""
        self._last, self._noise_seed = None, seed

    @torch.no_grad()
    def act(self, observation: NDArray, step: int, explore: bool) -> NDArray[np.float32]:
        """The action for an observation, inside the box, noise included where it explores.

        What is executed is what is stored, and its noise never quite goes.

        Raises:
            CeilingError: A value has reached what `lm_rank1` aims at.
        """
        config = self.config
        horizon, std = config.horizon_at(step), config.std_at(step)
        if not explore:
            horizon = config.horizon
        z = self.model.h(self._tensor(observation)[None])
        if config.method == "tdmpc":
            return self._search(z, horizon, std if explore else None).cpu().numpy()
        a = self.plan(z, horizon)[0, 0]
        if explore:
            a = (a + std * torch.randn_like(a)).clamp(-1, 1)
        return a.cpu().numpy()

    def _search(self, z: Tensor, horizon: int, std: float | None) -> Tensor:
        """TD-MPC's action for a latent (1, Z), shape (A,).

        Without a `std` to explore with it is what a checkpoint's planner does: the same search
        with the noise of an episode.
        """
        world, shape = self.model.world, search_noise(self._settings, horizon, self._action)
        start = world.propose(z, horizon)
        if self._last is not None:
            kept = self._last[:, 1 : 1 + horizon]
            start[:, : kept.shape[1]] = kept
        if std is None:
            noise = torch.from_numpy(episode_noise(self._noise_seed, shape)).to(z)
            state = search(world, self._settings, z, start, noise[None])
        else:
            noise = torch.randn(1, *shape, device=z.device)
            state = search(world, self._settings, z, start, noise, std)
        self._last = state.actions
        chosen = state.actions if std is None else MPPI.explore(state).clamp(-1, 1)
        return chosen[0, 0]

    @torch.no_grad()
    def plan(self, z: Tensor, horizon: int) -> Tensor:
        """DiffTORI's plans from latents (B, Z), shape (B, H, A)."""
        problem = world_problem(self.model.world, self._settings, z)
        found = solve(problem, self.model.world.propose(z, horizon), self._method)
        require_below_ceiling(self._settings, found.objective_before, found.objective_after)
        return found.actions

    def update(self, batch: Batch, step: int) -> tuple[NDArray[np.float32], dict[str, float]]:
        """One update of everything; returns new priorities, and what goes into the curves."""
        config, model = self.config, self.model
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(step)
        windows = self._windows(batch)
        of_model = model_loss(model, self.target, windows, config)
        optimizer = self._optimizers["losses"]
        optimizer.zero_grad()
        of_model.total.backward(inputs=self._rest)
        metrics = dict(of_model.parts)
        due = config.pg == "per_update" and self.updates % config.pg_every == 0
        if config.method == "difftori_rl" and due:
            # Equation 6: the states of the windows, weighted like their other losses.
            count, horizon = config.pg_batch, len(windows.actions)
            states = torch.from_numpy(batch.observations[:-1, :count]).to(config.device)
            powers = config.rho ** torch.arange(horizon, device=states.device)[:, None]
            weights = windows.valid[:, :count] * windows.weights[:count] * powers
            loss, more = planned_loss(
                model, states.flatten(0, 1), weights.flatten(), config.horizon_at(step), config
            )
            (config.pg_weight * loss).backward(inputs=self._planned)
            metrics |= {"pg": loss.detach(), **more}
        norm = nn.utils.clip_grad_norm_(self._rest, config.grad_clip)
        optimizer.step()
        self._improve_prior(of_model.latents, windows.valid)
        self.updates += 1
        if self.updates % 2 == 0:
            self._average()
        metrics["grad_norm"] = norm
        priorities = of_model.priorities.cpu().numpy().astype(np.float32)
        return priorities, {name: float(x) for name, x in metrics.items()}

    def update_on_episode(self, observations: NDArray, step: int) -> dict[str, float]:
        """The policy gradient on all states of an episode, summed, in one step of its own."""
        config = self.config
        if config.method != "difftori_rl" or config.pg != "per_episode":
            return {}
        states = self._tensor(observations)
        ones = torch.full((len(states),), float(len(states)), device=states.device)
        loss, more = planned_loss(self.model, states, ones, config.horizon_at(step), config)
        optimizer = self._optimizers["episode"]
        optimizer.zero_grad()
        (config.pg_weight * loss).backward(inputs=self._planned)
        nn.utils.clip_grad_norm_(self._planned, config.pg_clip)
        optimizer.step()
        return {"pg": float(loss.detach()), **{name: float(x) for name, x in more.items()}}

    def state(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        tensors = with_prefix("model.", self.model.state_dict())
        tensors |= with_prefix("target.", self.target.state_dict())
        for name, optimizer in self._optimizers.items():
            tensors |= with_prefix(f"optimizer.{name}.", optimizer_tensors(optimizer))
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Everything is as it was when `state` gave `tensors`."""
        self.model.load_state_dict(of_prefix("model.", tensors))
        self.target.load_state_dict(of_prefix("target.", tensors))
        for name, optimizer in self._optimizers.items():
            restore_optimizer(optimizer, of_prefix(f"optimizer.{name}.", tensors))
        self.updates = updates

    def _improve_prior(self, latents: Tensor, valid: Tensor) -> None:
        optimizer = self._optimizers["prior"]
        optimizer.zero_grad()
        prior_loss(self.model, latents, valid, self.config).backward(inputs=self._prior)
        nn.utils.clip_grad_norm_(self._prior, self.config.grad_clip)
        optimizer.step()

    @torch.no_grad()
    def _average(self) -> None:
        pairs = zip(self.target.parameters(), self.model.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, self.config.tau)

    def _windows(self, batch: Batch) -> Windows:
        device = self.config.device
        observations = torch.from_numpy(batch.observations).to(device)
        if observations.dim() > 3:
            # One shift per picture: the model is not to learn where the edge was.
            moved = shifted(observations.flatten(0, 1))
            observations = moved.unflatten(0, observations.shape[:2])
        others = (batch.actions, batch.rewards, batch.goes_on, batch.valid, batch.weights)
        return Windows(observations, *(torch.from_numpy(x).to(device) for x in others))

    def _tensor(self, observation: NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(observation)).to(self.config.device)
