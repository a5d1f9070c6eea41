# SPDX-License-Identifier: MIT
"""Two phases: train the base policy, then train the head to refine what it proposes."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from difftori_models.checkpoint import files
from difftori_models.contract.specs import Card
from difftori_models.data import load_demos
from difftori_models.policies.agent import Agent
from difftori_models.policies.base import Base
from difftori_models.policies.objective_head import ObjectiveHead
from difftori_models.training.errors import DivergedError
from difftori_models.training.run_log import Row
from difftori_models.training.run_state import (
    RunState,
    draw_seed,
    of_prefix,
    optimizer_tensors,
    restore_optimizer,
    seed_draws,
    with_prefix,
)

from .config import TrainConfig
from .curves import draw_curves
from .data import EpisodeSubset, Samples, delayed_states, new_card
from .losses import Loss, base_loss, head_loss
from .proposals import EVALUATION_BATCH, PROPOSALS, proposals


class Trainer:
    """One run: trains, saves its state, writes its log, exports the checkpoint.

    Attributes:
        config: The settings.
        card: The card of the checkpoint to be.
        agent: The networks that are trained.
        averaged: Their running average, which is validated and exported.
        data: The demonstrations.
        state: How far the run is, and its log.
    """

    def __init__(
        self, config: TrainConfig, card: Card, agent: Agent, data: Samples, state: RunState
    ) -> None:
        """Stand where `state` stands; see `open`."""
        self.config, self.card, self.agent, self.data = config, card, agent, data
        self.state = state
        self.averaged = copy.deepcopy(agent).eval().requires_grad_(False)
        saved = {name: tensor.to(config.device) for name, tensor in state.tensors.items()}
        self._optimizer_state = of_prefix("optimizer.", saved)
        if saved:
            for prefix, module in self._saved_modules.items():
                module.load_state_dict(of_prefix(prefix, saved))

    @classmethod
    def open(cls, config: TrainConfig) -> Trainer:
        """Read the demonstrations, and the state of the run if it was begun before.

        Raises:
            DemosError: The demonstrations cannot be used.
            ResumeError: The directory holds a run with other settings or demonstrations, or a
                broken one.
        """
        torch.set_num_threads(config.threads)
        demos = load_demos(config.demos)
        fixed = {k: v for k, v in asdict(config).items() if k not in ("demos", "out", "name")}
        state = RunState.open(config.out, {**fixed, "demonstrations": demos.sha256[:12]}, "base")
        if config.frames > 1:
            demos = demos.stacked(config.frames, config.frames_apart)
        states = delayed_states(demos, config.delay)
        card = new_card(config, demos, states)
        seed_draws(config.seed, "weights", 0)
        agent = Agent(card).to(config.device)
        return cls(config, card, agent, Samples(agent, demos, states, config), state)

    def run(self) -> Path:
        """The checkpoint lies in `out/checkpoint`; returns that directory.

        Raises:
            ResumeError: Another process is training there.
            DivergedError: A loss is not finite.
        """
        with self.state.writing():
            return self._run()

    def _run(self) -> Path:
        config, agent, averaged = self.config, self.agent, self.averaged
        if self.state.progress.phase == "base":
            self._phase("base", agent.base, averaged.base, config.base_steps)
            self._next("done" if agent.head is None else "head")
        if self.state.progress.phase == "head":
            assert isinstance(agent.head, nn.Module)
            assert isinstance(averaged.head, nn.Module)
            self._chunks = self._base_chunks()
            self._phase("head", agent.head, averaged.head, config.head_steps)
            self._next("done")
        return self.export()

    def export(self) -> Path:
        """The averaged weights are written as a checkpoint; returns its directory."""
        errors = {
            f"{row['phase']}_{key}": row[key]
            for row in self.state.log.rows
            for key in row
            if key.startswith("val") or key == "expert_above_base"
        }
        card = replace(self.card, training={**self.card.training, "validation": errors})
        tensors = {k: v.cpu().numpy() for k, v in self.averaged.state_dict().items()}
        folder = self.config.out / "checkpoint"
        files.save(folder, card, tensors)
        return folder

    def _loss(self, phase: str) -> Loss:
        """Loss of a batch drawn for a phase."""
        config, data = self.config, self.data
        if phase == "head":
            steps, _ = data.training.draw(config.batch, sequences=False)
            return head_loss(self.agent, data, self._chunks, steps.squeeze(1), config)
        base = self.agent.base
        steps, real = data.training.draw(config.batch, sequences=base.memory > 0)
        return base_loss(base, self.agent, data, steps, real, config)

    def _phase(self, name: str, model: nn.Module, averaged: Any, steps: int) -> None:
        config = self.config
        weights = list(model.parameters())
        average = list(averaged.parameters())
        optimizer = torch.optim.AdamW(
            weights, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        if self._optimizer_state:
            restore_optimizer(optimizer, self._optimizer_state)
            self._optimizer_state = {}
        losses: list[float] = []
        in_l1 = name == "head" or config.below == "bc"
        shown_as = "train_l1" if in_l1 else "train_loss"
        first = self.state.progress.step
        bar = tqdm(
            range(first, steps),
            desc=f"{config.name} {name}",
            initial=first,
            total=steps,
            disable=None,
        )
        for k in bar:
            seed_draws(config.seed, name, k)
            for group in optimizer.param_groups:
                group["lr"] = 0.5 * config.lr * (1 + math.cos(math.pi * k / steps))
            model.train()
            loss, shown = self._loss(name)
            if not math.isfinite(shown):
                raise DivergedError(
                    f"the loss of phase '{name}' is {shown} at update {k + 1}: the run has "
                    f"diverged; a smaller lr than {config.lr:g} may help"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay = min(config.ema, (1 + k) / (10 + k))
            with torch.no_grad():
                for mean, weight in zip(average, weights, strict=True):
                    mean.lerp_(weight, 1 - decay)
            losses.append(shown)
            done = k + 1
            if done % config.save_every == 0 or done == steps:
                row: Row = {"phase": name, "step": done, shown_as: float(np.mean(losses))}
                row |= self._validate(name, averaged)
                row["seconds"] = self.state.seconds
                losses = []
                self.state.log.add(row)
                self._save(optimizer, phase=name, step=done)
                bar.set_postfix_str(f"{shown_as} {row[shown_as]:.3f}", refresh=False)

    def _base_chunks(self) -> Tensor:
        """What the heads start from on every step, shape (N, T, H, A)."""
        config, data = self.config, self.data
        count = PROPOSALS if config.below == "diffusion" else 1
        return self._proposals(self.averaged.base, data.every, "proposals", count)

    def _proposals(self, base: Base, subset: EpisodeSubset, name: str, count: int = 1) -> Tensor:
        seed = draw_seed(self.config.seed, name, 0)
        return proposals(self.averaged, base, self.data, subset, count, seed)

    @torch.no_grad()
    def _validate(self, phase: str, base: Base) -> dict[str, float]:
        """Errors of the averaged weights on the held-out episodes, as they would act.

        A CVAE's latent is the mean of its prior here, whatever is drawn in deployment.
        """
        agent, data = self.averaged, self.data
        steps = data.validation.steps
        if len(steps) == 0:
            return {}
        labels = data.labels[steps]
        if phase != "head":
            chunk = self._proposals(base, data.validation, "validation")[0, steps]
            return {"val_l1": (chunk - labels).abs().mean().item()}
        start = self._chunks[0, steps]
        after, rank = 0.0, 0.0
        for rows in torch.arange(len(steps)).split(EVALUATION_BATCH):
            inputs = data.at(steps[rows])
            begun = start[rows]
            if self.config.start == "zero":
                begun = torch.zeros_like(begun)
            refined = agent.act(inputs, begun)
            after += (refined - labels[rows]).abs().mean(dim=(1, 2)).sum().item()
            if isinstance(agent.head, ObjectiveHead):
                z = agent.head.encoder.encode(inputs)
                problem = agent.head.problem(z, *agent.box)
                better = problem.evaluate(labels[rows]) > problem.evaluate(start[rows])
                rank += better.sum().item()
        errors = {
            "val_l1_before": (start - labels).abs().mean().item(),
            "val_l1_after": after / len(steps),
        }
        if isinstance(agent.head, ObjectiveHead):
            errors["expert_above_base"] = rank / len(steps)
        return errors

    def _next(self, phase: str) -> None:
        draw_curves(self.state.log.rows, self.config.out / "curves.png", self.config.name)
        self._save(None, phase=phase, step=0)

    def _save(self, optimizer: torch.optim.Optimizer | None, phase: str, step: int) -> None:
        tensors: dict[str, Tensor] = {}
        for prefix, module in self._saved_modules.items():
            tensors |= with_prefix(prefix, module.state_dict())
        if optimizer is not None:
            tensors |= with_prefix("optimizer.", optimizer_tensors(optimizer))
        self.state.save(tensors, phase=phase, step=step)

    @property
    def _saved_modules(self) -> dict[str, nn.Module]:
        """Everything that is saved, by the prefix of its tensors."""
        return {
            "weights.": self.agent,
            "average.": self.averaged,
        }
