# SPDX-License-Identifier: MIT
"""Everything a training run depends on besides the demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..network import IMITATION, MAX_ITERATIONS, MAX_RESIDUALS, SOLVERS


class ConfigError(Exception):
    """A setting makes no sense; the message names it."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; the same settings and demonstrations give the same weights."""

    demos: Path
    """Demonstrations, an .npz file made by `difftori record`."""
    out: Path
    """Directory of the run. An unfinished run with the same settings there goes on."""
    name: str
    """Name of the checkpoint, as it stands in the card."""
    method: str = "difftori"
    """`difftori`, its control without optimiser `residual`, or plain behaviour cloning `bc`."""
    base_steps: int = 6000
    """Updates of the base policy (phase 1)."""
    head_steps: int = 3000
    """Updates of the head on the frozen base policy (phase 2); `bc` has no head."""
    batch: int = 128
    """Samples per update."""
    lr: float = 1e-3
    """Highest learning rate; falls to zero along a half cosine in each phase."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW."""
    dropout: float = 0.2
    """Share of hidden units dropped. Without it the base fits its demonstrations, and refining it
    has nothing left to learn."""
    noise: float = 0.3
    """Spread of the starts the head is trained from, in units of each action entry's std: base
    chunk + N(0, 1) * noise * 2 * U(0, 1), one U per sample. Without it refining does not learn."""
    solver: str = "projected_gradient"
    """How the score is climbed: `projected_gradient`, `gauss_newton` or `adam_box`."""
    iterations: int = 10
    """Iterations per solve, in training and in deployment."""
    residuals: int = 16
    """Residuals of the score; `gauss_newton` alone."""
    shift: int = 2
    """Images are moved by up to this many pixels each way, in training alone [px]."""
    brightness: float = 0.1
    """Spread of what is added to all of an image, in training alone; 1 is black to white."""
    contrast: float = 0.1
    """Spread of the factor on an image's distance from grey, around 1, in training alone."""
    cvae: bool = False
    """Give the score a 64-d CVAE latent."""
    kl_weight: float = 0.003
    """Weight of the latent's KL divergence beside the L1 loss."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones validated and exported."""
    val_fraction: float = 0.1
    """Share of the episodes kept out of training, for the curves only."""
    seed: int = 0
    """Seed of every random draw: weights, split, batches, noise, dropout."""
    save_every: int = 500
    """Updates between two validations and saved states."""
    threads: int = 1
    """torch threads."""
    device: str = "cpu"
    """torch device."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"device '{self.device}': PyTorch finds no GPU here; use cpu")
        if self.solver not in SOLVERS:
            raise ConfigError(f"unknown solver '{self.solver}'; known: {', '.join(SOLVERS)}")
        if self.method not in IMITATION:
            raise ConfigError(f"unknown method '{self.method}'; known: {', '.join(IMITATION)}")
        counts = ("base_steps", "head_steps", "batch", "iterations", "residuals", "save_every")
        for key in (*counts, "threads"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key, top in (("iterations", MAX_ITERATIONS), ("residuals", MAX_RESIDUALS)):
            if getattr(self, key) > top:
                raise ConfigError(f"{key} must be at most {top}, got {getattr(self, key)}")
        for key, top in (("dropout", 1.0), ("ema", 1.0), ("val_fraction", 1.0)):
            if not 0 <= getattr(self, key) < top:
                raise ConfigError(f"{key} must lie in [0, {top}), got {getattr(self, key)}")
        if not 0 <= self.shift <= 32:
            raise ConfigError(f"shift must be 0 to 32 pixels, got {self.shift}")
        for key in ("brightness", "contrast"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} must lie in [0, 1], got {getattr(self, key)}")
        for key in ("noise", "kl_weight", "weight_decay"):
            if not getattr(self, key) >= 0:
                raise ConfigError(f"{key} must not be negative, got {getattr(self, key)}")
        if not self.lr > 0:
            raise ConfigError(f"lr must be positive, got {self.lr}")

    @property
    def latent(self) -> int:
        """Length of the CVAE latent; 64 as in the DiffTORI paper, 0 for none."""
        return 64 if self.cvae and self.method == "difftori" else 0

    @property
    def head_residuals(self) -> int:
        """Outputs of the score head beyond a single score; 0 unless Gauss-Newton climbs it."""
        return self.residuals if self.solver == "gauss_newton" else 0
