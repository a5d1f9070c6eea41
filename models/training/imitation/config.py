# SPDX-License-Identifier: MIT
"""Everything a training run depends on besides the demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from difftori_models.contract.network_settings import (
    BASES,
    IMITATION,
    MAX_FRAMES,
    MAX_ITERATIONS,
    MAX_RESIDUALS,
    OBJECTIVES,
    RL_METHODS,
    SAMPLERS,
    SOLVERS,
)
from difftori_models.training.errors import ConfigError
from difftori_models.training.validation import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_BELOW_ONE,
    Device,
    Interval,
    OneOf,
    PlainName,
    check_settings,
)

LOSSES = ("l1", "mse")
"""What the head makes small."""

STARTS = ("noisy", "base", "zero")
"""Where the head's solves begin in training; a checkpoint begins its own where that was learned:
at the base policy's chunk for the first two."""

SCORED = (
    "solver",
    "score",
    "in_graph",
    "contrastive",
    "residuals",
    "cvae",
    "kl_weight",
    "draw_latent",
)
"""Settings of a score, so of `difftori` alone."""

REFINED = ("start", "noise", "loss")
"""Settings of whatever stands on a base policy, so of `difftori` and `residual`."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    # Weights relative to the reconstruction: 10 * KL beside 3000 * MSE. The batch-coupled solve of
    # the reference is left out: in it a plan depends on what else is in the batch.
    "paper": {
        "base": "diffusion",
        "start": "base",
        "loss": "mse",
        "solver": "lm_rank1",
        "iterations": 100,
        "in_graph": 5,
        "cvae": True,
        "draw_latent": True,
        "kl_weight": 10 / 3000,
        "lr": 1e-4,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "ema": 0.0,
    },
}
"""Defaults by the name of `--preset`: `paper` is what the released code does for imitation."""


def unused_settings(method: str, below: str) -> tuple[str, ...]:
    """Settings that mean nothing to a method with this base policy."""
    scored = () if method == "difftori" else SCORED
    refined = REFINED if method in BASES else ()
    return (*scored, *refined, *(() if below == "ibc" else ("sampler",)))


def presets(method: str) -> dict[str, dict[str, Any]]:
    """Of every preset the settings that a method has a use for."""
    drop = {*unused_settings(method, "bc"), *(("base",) if method in BASES else ())}
    return {
        name: {key: value for key, value in settings.items() if key not in drop}
        for name, settings in PRESETS.items()
    }


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; the same settings and demonstrations give the same weights."""

    demos: Path
    """Demonstrations, an .npz file made by `difftori demos`."""
    out: Path
    """Directory of the run. An unfinished run with the same settings there goes on."""
    name: Annotated[str, PlainName()]
    """Name of the checkpoint, as it stands in the card."""
    method: Annotated[str, OneOf(*IMITATION, *RL_METHODS)] = "difftori"
    """`difftori`, its control without optimiser `residual`, or a base policy alone: `bc`,
    `bc_rnn`, `ibc`, `diffusion`."""
    base: Annotated[str, OneOf(*BASES)] = "bc"
    """Base policy below `difftori` and `residual`: `bc`, `bc_rnn`, `ibc` or `diffusion`."""
    base_steps: Annotated[int, COUNT] = 6000
    """Updates of the base policy (phase 1)."""
    head_steps: Annotated[int, COUNT] = 3000
    """Updates of the head on the frozen base policy (phase 2); a base policy alone has none."""
    batch: Annotated[int, COUNT] = 128
    """Samples per update."""
    lr: Annotated[float, POSITIVE] = 1e-3
    """Highest learning rate; falls to zero along a half cosine in each phase."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-4
    """Decoupled weight decay of AdamW."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.2
    """Share of hidden units dropped. Without it the base fits its demonstrations, and refining it
    has nothing left to learn."""
    noise: Annotated[float, NOT_NEGATIVE] = 0.3
    """Spread of the starts the head is trained from, in units of each action entry's std: base
    chunk + N(0, 1) * noise * 2 * U(0, 1), one U per sample. Without it refining does not learn."""
    start: Annotated[str, OneOf(*STARTS)] = "noisy"
    """Where solves begin in training: at `noisy` or plain `base` chunks, or at the mean action
    `zero`."""
    loss: Annotated[str, OneOf(*LOSSES)] = "l1"
    """Error of the refined chunk: `l1` or `mse`."""
    solver: Annotated[str, OneOf(*SOLVERS)] = "projected_gradient"
    """How the score is climbed: `projected_gradient`, `gauss_newton`, `adam_box` or `lm_rank1`."""
    score: Annotated[str, OneOf(*OBJECTIVES)] = "chunk"
    """What is climbed: a score of the whole `chunk`, or a sum along latent `dynamics`."""
    in_graph: Annotated[int, NOT_NEGATIVE] = 0
    """Last iterations that are differentiated; 0, or as many as there are, for all."""
    contrastive: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of an InfoNCE term on the score, with proposals of the `diffusion` base as the other
    chunks. Not of the paper."""
    sampler: Annotated[str, OneOf(*SAMPLERS)] = "langevin"
    """How `ibc` finds the action of least energy: `langevin` or `derivative_free`."""
    iterations: Annotated[int, Interval(1, MAX_ITERATIONS)] = 10
    """Iterations per solve, in training and in deployment."""
    residuals: Annotated[int, Interval(1, MAX_RESIDUALS)] = 16
    """Residuals of the score; `gauss_newton` alone."""
    delay: Annotated[int, Interval(0, 32)] = 0
    """Clouds and images are 0 to this many steps late, all delays alike, in training alone. Where
    a camera's pictures come late, a policy trained without delay acts on what has long moved."""
    frames: Annotated[int, Interval(1, MAX_FRAMES)] = 1
    """Frames that the policy sees at once. The demonstrations need no more than they have: the
    steps before a step are its past."""
    frames_apart: float = 0.1
    """Time between two frames, in whole steps of the demonstrations [s]."""
    shift: Annotated[int, Interval(0, 32)] = 2
    """Images are moved by up to this many pixels each way, in training alone [px]."""
    brightness: Annotated[float, SHARE] = 0.1
    """Spread of what is added to all of an image, in training alone; 1 is black to white."""
    contrast: Annotated[float, SHARE] = 0.1
    """Spread of the factor on an image's distance from grey, around 1, in training alone."""
    cloud_shift: Annotated[float, SHARE] = 0.0
    """Clouds are moved by a vector drawn with this spread along each axis, in training alone [m]:
    calibrations of another day. The arm in the cloud is then worth looking at."""
    cloud_colour: Annotated[float, SHARE] = 0.0
    """Each colour channel of a cloud is brighter or darker by up to this share, in training
    alone."""
    cvae: bool = False
    """Give the score a 64-d CVAE latent."""
    kl_weight: Annotated[float, NOT_NEGATIVE] = 0.003
    """Weight of the latent's KL divergence beside the loss."""
    draw_latent: bool = False
    """Draw the CVAE latent of an episode from the prior at deployment, instead of its mean."""
    ema: Annotated[float, SHARE_BELOW_ONE] = 0.999
    """Decay of the averaged weights, which are the ones validated and exported."""
    val_fraction: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Share of the episodes kept out of training, for the curves only."""
    seed: int = 0
    """Seed of every random draw: weights, split, batches, noise, dropout."""
    save_every: Annotated[int, COUNT] = 500
    """Updates between two validations and saved states."""
    threads: Annotated[int, COUNT] = 1
    """torch threads."""
    device: Annotated[str, Device()] = "cpu"
    """torch device."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        check_settings(self)
        if self.method in RL_METHODS:
            raise ConfigError(f"method '{self.method}' learns by reward: take `difftori train rl`")
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.method in BASES and self.base not in ("bc", self.method):
            raise ConfigError(
                f"method '{self.method}' is a base policy itself, so base '{self.base}' cannot be "
                "below it; --method difftori or residual can stand on one"
            )
        unused = [key for key in unused_settings(self.method, self.below) if self._given(key)]
        if unused:
            raise ConfigError(
                f"method '{self.method}' has no use for {', '.join(unused)}: leave that out"
            )
        if self.below == "ibc" and self.batch < 2:
            raise ConfigError("ibc takes negatives from the rest of a batch: batch at least 2")
        if self.contrastive > 0 and self.base != "diffusion":
            raise ConfigError(
                "contrastive takes its other chunks from the diffusion base of a score: it needs "
                f"base diffusion, got {self.base}"
            )
        if self.contrastive > 0 and self.cvae:
            raise ConfigError(
                "contrastive cannot be had with cvae: in training the latent is inferred from the "
                "expert's chunk, and would tell it from the others"
            )
        if self.score == "dynamics" and self.solver == "gauss_newton":
            raise ConfigError("gauss_newton needs residuals of the whole chunk: score chunk")
        if self.draw_latent and not self.cvae:
            raise ConfigError("draw_latent, but there is no latent: it needs cvae")

    def _given(self, key: str) -> bool:
        return getattr(self, key) != getattr(type(self), key)

    @property
    def below(self) -> str:
        """The base policy, also where it is all there is."""
        return self.method if self.method in BASES else self.base

    @property
    def latent(self) -> int:
        """Length of the CVAE latent; 64 as in the DiffTORI paper, 0 for none."""
        return 64 if self.cvae and self.method == "difftori" else 0

    @property
    def head_residuals(self) -> int:
        """Outputs of the score head beyond a single score; 0 unless Gauss-Newton climbs it."""
        return self.residuals if self.solver == "gauss_newton" else 0
