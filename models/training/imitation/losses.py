# SPDX-License-Identifier: MIT
"""What training makes small: a base policy's own loss, and the error of a head's answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from difftori_models.policies.agent import Agent
from difftori_models.policies.base import Base
from difftori_models.policies.ibc import info_nce
from difftori_models.policies.objective_head import ObjectiveHead
from difftori_models.solver.backward import truncated, unrolled
from difftori_models.solver.problem import Problem

from .augment import augment
from .config import TrainConfig
from .data import Samples


class Loss(NamedTuple):
    """A loss, and the part of it that the curves show."""

    total: Tensor
    shown: float


def base_loss(
    base: Base, agent: Agent, data: Samples, steps: Tensor, real: Tensor, config: TrainConfig
) -> Loss:
    """Loss of a base policy on steps (S, L), of which `real` count."""
    flat = steps.flatten()
    loss = base.loss(augment(data.at(flat), config), data.labels[flat], agent.box, real)
    return Loss(loss, loss.item())


def head_loss(
    agent: Agent, data: Samples, chunks: Tensor, steps: Tensor, config: TrainConfig
) -> Loss:
    """Error of the refined chunks, with the CVAE's and the contrastive term.

    Args:
        agent: Its head is trained.
        data: The demonstrations.
        chunks: The base policy's proposals, shape (N, T, H, A).
        steps: Steps of the batch, shape (B,).
        config: Settings.
    """
    head = agent.head
    assert head is not None
    inputs = augment(data.at(steps), config)
    labels, start = data.labels[steps], _starts(chunks, steps, config)
    z, latent, kl = head.encoder.encode(inputs), None, start.new_zeros(1)
    if isinstance(head, ObjectiveHead) and head.latent:
        latent, kl = head.infer(z, labels)
    problem = head.problem(z, *agent.box, latent)
    if config.in_graph:
        refined = truncated(problem, start, head.method(), config.in_graph).actions
    else:
        refined = unrolled(problem, start, head.method()).actions
    apart = refined - labels
    error = apart.abs().mean() if config.loss == "l1" else apart.square().mean()
    total = error + config.kl_weight * kl.mean()
    if config.contrastive:
        total = total + config.contrastive * contrast(problem, labels, chunks[:, steps])
    return Loss(total, apart.abs().mean().item())


def contrast(problem: Problem, labels: Tensor, others: Tensor) -> Tensor:
    """InfoNCE of the score: the expert's chunk (B, H, A) against others (N, B, H, A).

    DiffTORI has no such term; it joins the loss of implicit cloning, whose negatives are uniform,
    with negatives that a diffusion policy holds for likely.
    """
    every = torch.cat([labels[None], others]).transpose(0, 1)
    count = every.shape[1]
    scores = problem.tile(count).evaluate(every.flatten(0, 1))
    return info_nce(scores.view(-1, count))


def _starts(chunks: Tensor, steps: Tensor, config: TrainConfig) -> Tensor:
    """Where the solves of a batch begin, shape (B, H, A)."""
    if config.start == "zero":
        return torch.zeros_like(chunks[0, steps])
    if len(chunks) > 1:
        start = chunks[torch.randint(len(chunks), (len(steps),)).to(steps.device), steps]
    else:
        start = chunks[0, steps]
    if config.start != "noisy":
        return start
    spread = config.noise * 2 * torch.rand(len(steps), 1, 1, device=start.device)
    return start + spread * torch.randn_like(start)
