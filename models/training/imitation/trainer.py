# SPDX-License-Identifier: MIT
"""Two phases: train the base policy, then train the head to refine what it proposes.

With starts out of fold there are two more in between: the same base policy on one half of the
training episodes each, whose proposals on the other half the head then starts from.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from difftori_models.checkpoint import files
from difftori_models.contract.strict_json import dumps
from difftori_models.data import load_demos
from difftori_models.policies.agent import Agent, new_base
from difftori_models.policies.base import Base
from difftori_models.policies.objective_head import Climbing
from difftori_models.training.run_state import (
    Progress,
    ResumeError,
    difference,
    draw_seed,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    sole_writer,
)
from difftori_models.training.validation import DivergedError

from .config import TrainConfig
from .curves import Curves
from .data import Part, Samples, new_card
from .losses import Loss, base_loss, head_loss
from .proposals import EVALUATION_BATCH, PROPOSALS, proposals


class Trainer:
    """One run: trains, saves its state, writes curves, exports the checkpoint."""

    def __init__(self, config: TrainConfig) -> None:
        """Read the demonstrations, and the state of the run if it was begun before.

        Raises:
            DemosError: The demonstrations cannot be used.
            ResumeError: The directory holds a run with other settings or demonstrations, or a
                broken one.
        """
        self.config = config
        torch.set_num_threads(config.threads)
        demos = load_demos(config.demos)
        if config.frames > 1:
            demos = demos.stacked(config.frames, config.frames_apart)
        self.card = new_card(config, demos)
        torch.manual_seed(draw_seed(config.seed, "weights", 0))
        self.agent = Agent(self.card).to(config.device)
        self.data = Samples(self.agent, demos, config)
        self.averaged = copy.deepcopy(self.agent).eval().requires_grad_(False)
        self.folds = self.averaged_folds = nn.ModuleList()
        if config.start == "oof" and self.agent.head is not None:
            self.folds = nn.ModuleList(self._new_fold(k) for k in range(2)).to(config.device)
            self.averaged_folds = copy.deepcopy(self.folds).eval().requires_grad_(False)
        self._settings = dumps(
            {k: str(v) for k, v in asdict(config).items() if k not in ("demos", "out", "name")}
        )
        self._demos_sha256 = demos.sha256
        self._folder = config.out
        self._progress, self._optimizer_state = self._resume()
        self.curves = (
            Curves(self._folder, self._progress.phase, self._progress.step)
            if self._progress.step or self._progress.phase != "base"
            else Curves(self._folder)
        )

    def run(self) -> Path:
        """The checkpoint lies in `out/checkpoint`; returns that directory.

        Raises:
            ResumeError: Another process is training there.
        """
        with sole_writer(self._folder):
            return self._run()

    def _run(self) -> Path:
        steps, bases = self.config.base_steps, ["base", *self._fold_names]
        for name, after in zip(bases, [*bases[1:], "head"], strict=True):
            if self._progress.phase == name:
                self._phase(name, *self._base_of(name), steps)
                self._next("done" if self.agent.head is None else after)
        if self._progress.phase == "head":
            assert isinstance(self.agent.head, nn.Module)
            assert isinstance(self.averaged.head, nn.Module)
            self._chunks = self._base_chunks()
            self._phase("head", self.agent.head, self.averaged.head, self.config.head_steps)
            self._next("done")
        return self.export()

    def export(self) -> Path:
        """The averaged weights are written as a checkpoint; returns its directory."""
        errors = {
            f"{row['phase']}_{key}": row[key]
            for row in self.curves.rows
            for key in row
            if key.startswith("val") or key == "expert_above_base"
        }
        card = replace(self.card, training={**self.card.training, "validation": errors})
        tensors = {k: v.cpu().numpy() for k, v in self.averaged.state_dict().items()}
        folder = self._folder / "checkpoint"
        files.save(folder, card, tensors)
        return folder

    @property
    def _fold_names(self) -> list[str]:
        return [f"fold{k}" for k in range(len(self.folds))]

    def _new_fold(self, k: int) -> Base:
        torch.manual_seed(draw_seed(self.config.seed, f"weights{k}", 0))
        agent = self.agent
        assert self.card.base is not None
        return new_base(self.card.base, agent.network, agent.solver, *agent.normaliser.shape)

    def _base_of(self, phase: str) -> tuple[Base, Base]:
        """The base policy that a phase trains, and its averaged weights."""
        if phase == "base":
            return self.agent.base, self.averaged.base
        k = self._fold_names.index(phase)
        return self.folds[k], self.averaged_folds[k]  # type: ignore[return-value]

    def _loss(self, phase: str) -> Loss:
        """Loss of a batch drawn for a phase."""
        config, data = self.config, self.data
        if phase == "head":
            steps, _ = data.training.draw(config.batch, sequences=False)
            return head_loss(self.agent, data, self._chunks, steps.squeeze(1), config)
        part = data.training if phase == "base" else data.folds[self._fold_names.index(phase)]
        base, _ = self._base_of(phase)
        steps, real = part.draw(config.batch, sequences=base.memory > 0)
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
        began = time.monotonic()
        bar = tqdm(
            range(self._progress.step, steps),
            desc=f"{config.name} {name}",
            initial=self._progress.step,
            total=steps,
            disable=None,
        )
        for k in bar:
            torch.manual_seed(draw_seed(config.seed, name, k))
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
                row = {"phase": name, "step": done, shown_as: float(np.mean(losses))}
                row |= self._validate(name, averaged)
                row["seconds"] = round(time.monotonic() - began, 2)
                losses = []
                self._record(row, optimizer)
                bar.set_postfix_str(f"{shown_as} {row[shown_as]:.3f}", refresh=False)

    def _base_chunks(self) -> Tensor:
        """What the heads start from on every step, shape (N, T, H, A)."""
        config, data = self.config, self.data
        count = PROPOSALS if config.below == "diffusion" else 1
        chunks = self._proposals(self.averaged.base, data.every, "proposals", count)
        for name, unseen in zip(self._fold_names, reversed(data.folds), strict=False):
            other = self._proposals(self._base_of(name)[1], unseen, name, count)
            chunks[:, unseen.steps] = other[:, unseen.steps]
        return chunks

    def _proposals(self, base: Base, part: Part, name: str, count: int = 1) -> Tensor:
        seed = draw_seed(self.config.seed, name, 0)
        return proposals(self.averaged, base, self.data, part, count, seed)

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
            found = agent.act(inputs, begun)
            after += (found - labels[rows]).abs().mean(dim=(1, 2)).sum().item()
            if isinstance(agent.head, Climbing):
                z = agent.head.encoder.encode(inputs)
                problem = agent.head.problem(z, *agent.box)
                better = problem.evaluate(labels[rows]) > problem.evaluate(start[rows])
                rank += better.sum().item()
        found = {
            "val_l1_before": (start - labels).abs().mean().item(),
            "val_l1_after": after / len(steps),
        }
        if isinstance(agent.head, Climbing):
            found["expert_above_base"] = rank / len(steps)
        return found

    def _record(self, row: dict[str, Any], optimizer: torch.optim.Optimizer | None) -> None:
        error = row.get("val_l1_after", row.get("val_l1"))
        best = self._progress.best
        if error is not None:
            best = error if best is None else min(best, error)
        self._progress = replace(self._progress, phase=row["phase"], step=row["step"], best=best)
        self.curves.add(row)
        self._save(optimizer)

    def _next(self, phase: str) -> None:
        self.curves.draw(self.config.name)
        self._progress = replace(self._progress, phase=phase, step=0, best=None)
        self._save(None)

    def _save(self, optimizer: torch.optim.Optimizer | None) -> None:
        tensors = {f"weights.{k}": v for k, v in self.agent.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.averaged.state_dict().items()}
        tensors |= {f"folds.{k}": v for k, v in self.folds.state_dict().items()}
        tensors |= {f"average_folds.{k}": v for k, v in self.averaged_folds.state_dict().items()}
        if optimizer is not None:
            tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(optimizer).items()}
        save_state(self._folder / "state", self._progress, tensors)

    def _resume(self) -> tuple[Progress, dict[str, Tensor]]:
        found = load_state(self._folder / "state")
        if found is None:
            return Progress("base", 0, None, self._settings, self._demos_sha256), {}
        progress, tensors = found
        if progress.demos_sha256 != self._demos_sha256:
            raise ResumeError(
                f"{self._folder} holds a run on other demonstrations; choose another out"
            )
        if progress.config != self._settings:
            raise ResumeError(
                f"{self._folder} holds a run with other settings "
                f"({difference(progress.config, self._settings)}); choose another out"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                k[len(prefix) :]: v.to(self.config.device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        self.agent.load_state_dict(part("weights."))
        self.averaged.load_state_dict(part("average."))
        self.folds.load_state_dict(part("folds."))
        self.averaged_folds.load_state_dict(part("average_folds."))
        return progress, part("optimizer.")
