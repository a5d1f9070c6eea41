# SPDX-License-Identifier: MIT
"""Two phases: clone the expert's chunks, then train the head to refine the clone's."""

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

from .. import checkpoint
from ..dataset import load_demos
from ..jsonio import dumps, loads
from ..policies.agent import Agent
from ..policies.score import ScoreHead
from ..solver.backward import unrolled
from ..solver.method import solve
from .augment import augment
from .config import TrainConfig
from .curves import Curves
from .data import Samples, new_card
from .resume import (
    Progress,
    ResumeError,
    draw_seed,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
)

EVALUATION_BATCH = 512


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
        self._settings = dumps(
            {k: str(v) for k, v in asdict(config).items() if k not in ("demos", "out")}
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
        """The checkpoint lies in `out/checkpoint`; returns that directory."""
        if self._progress.phase == "base":
            self._phase("base", self.agent.base, self.averaged.base, self.config.base_steps)
            self._next("head" if self.agent.head is not None else "done")
        if self._progress.phase == "head":
            assert self.agent.head is not None
            assert self.averaged.head is not None
            self._starts = self._base_chunks()
            self._phase("head", self.agent.head, self.averaged.head, self.config.head_steps)
            self._next("done")
        return self.export()

    def export(self) -> Path:
        """The averaged weights are written as a checkpoint; returns its directory."""
        errors = {
            f"{row['phase']}_{key}": row[key]
            for row in self.curves.rows
            for key in row
            if key.startswith("val")
        }
        card = replace(self.card, training={**self.card.training, "validation": errors})
        tensors = {k: v.cpu().numpy() for k, v in self.averaged.state_dict().items()}
        folder = self._folder / "checkpoint"
        checkpoint.save(folder, card, tensors)
        return folder

    def _phase(self, name: str, model: nn.Module, averaged: nn.Module, steps: int) -> None:
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
            batch = self.data.training[
                torch.randint(len(self.data.training), (config.batch,)).to(config.device)
            ]
            loss, shown = self._base_loss(batch) if name == "base" else self._head_loss(batch)
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
                row = {"phase": name, "step": done, "train_l1": float(np.mean(losses))}
                row |= self._validate(name)
                row["seconds"] = round(time.monotonic() - began, 2)
                losses = []
                self._record(row, optimizer)
                bar.set_postfix_str(f"L1 {row['train_l1']:.3f}", refresh=False)

    def _base_loss(self, batch: Tensor) -> tuple[Tensor, float]:
        inputs = augment(self.data.at(batch), self.config)
        loss = (self.agent.base(inputs) - self.data.labels[batch]).abs().mean()
        return loss, loss.item()

    def _head_loss(self, batch: Tensor) -> tuple[Tensor, float]:
        config, head, normaliser = self.config, self.agent.head, self.agent.normaliser
        inputs = augment(self.data.at(batch), config)
        labels, start = self.data.labels[batch], self._starts[batch]
        spread = config.noise * 2 * torch.rand(len(batch), 1, 1, device=start.device)
        start = start + spread * torch.randn_like(start)
        assert head is not None
        low, high = normaliser.low, normaliser.high
        z, latent, kl = head.encoder.encode(inputs), None, start.new_zeros(1)
        if isinstance(head, ScoreHead) and head.latent:
            latent, kl = head.infer(z, labels)
        problem = head.problem(z, low, high, latent)
        refined = unrolled(problem, start, head.method()).actions
        loss = (refined - labels).abs().mean()
        return loss + config.kl_weight * kl.mean(), loss.item()

    @torch.no_grad()
    def _base_chunks(self) -> Tensor:
        steps = torch.arange(len(self.data.labels), device=self.config.device)
        parts = steps.split(EVALUATION_BATCH)
        return torch.cat([self.averaged.propose(self.data.at(part)) for part in parts])

    @torch.no_grad()
    def _validate(self, phase: str) -> dict[str, float]:
        """Errors of the averaged weights on the held-out episodes, as they would act."""
        agent, steps = self.averaged, self.data.validation
        low, high = agent.normaliser.low, agent.normaliser.high
        if len(steps) == 0:
            return {}
        before, after = 0.0, 0.0
        for part in steps.split(EVALUATION_BATCH):
            inputs, labels = self.data.at(part), self.data.labels[part]
            chunk = agent.propose(inputs) if phase == "base" else self._starts[part]
            before += (chunk - labels).abs().mean(dim=(1, 2)).sum().item()
            if phase == "head":
                assert agent.head is not None
                head = agent.head
                problem = head.problem(head.encoder.encode(inputs), low, high)
                chunk = solve(problem, chunk, head.method()).actions
                after += (chunk - labels).abs().mean(dim=(1, 2)).sum().item()
        if phase == "base":
            return {"val_l1": before / len(steps)}
        return {"val_l1_before": before / len(steps), "val_l1_after": after / len(steps)}

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
                f"({_difference(progress.config, self._settings)}); choose another out"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                k[len(prefix) :]: v.to(self.config.device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        self.agent.load_state_dict(part("weights."))
        self.averaged.load_state_dict(part("average."))
        return progress, part("optimizer.")


def _difference(old: str, new: str) -> str:
    before, after = loads(old), loads(new)
    keys = [key for key in after if before.get(key) != after[key]]
    return ", ".join(f"{key} {before.get(key)} there, {after[key]} now" for key in keys)
