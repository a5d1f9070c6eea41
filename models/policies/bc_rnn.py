# SPDX-License-Identifier: MIT
"""BC-RNN: a recurrent policy with a Gaussian mixture over chunks (Mandlekar et al. 2021).

    h, c <- LSTM(z, h, c),     p(chunk | h) = sum_k w_k N(chunk; mean_k, diag(std_k^2))

"What matters in learning from offline human demonstrations for robot manipulation" draws a mode
and takes its mean. Here the mode with the largest weight is taken, the first of equal ones: the
same episode then always gives the same plans.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder, Inputs
from difftori_models.networks.mlp import perceptron

from .base import Base, Box, Proposed

MODES = 5
"""Components of the mixture, as in the paper."""
LEAST_STD = 0.05
"""Least standard deviation of a component [unit actions]: without a floor the likelihood is won by
the entries that the expert hardly ever changes."""


class RecurrentCloning(Base):
    """Trained on whole episodes with the mean negative log likelihood per action entry.

    One step of the LSTM is one plan: in training as at deployment it sees every `execute`-th
    observation, and it knows nothing before the first.
    """

    def __init__(self, network: Network, horizon: int, size: int) -> None:
        super().__init__()
        self.shape = (horizon, size)
        self.hidden = network.hidden
        self.memory = 2 * network.hidden
        self.encoder = Encoder(network)
        self.lstm = nn.LSTM(network.feature, network.hidden, batch_first=True)
        # weights, means and standard deviations of all modes
        self.mixture = perceptron(network, network.hidden, MODES * (1 + 2 * horizon * size))

    def propose(self, inputs: Inputs, box: Box, noise: Tensor, memory: Tensor) -> Proposed:
        """The mean of the likeliest mode; see `Base.propose`."""
        del box, noise
        weights = dict(self.lstm.named_parameters())
        of_inputs, of_memory = weights["weight_ih_l0"], weights["weight_hh_l0"]
        biases = weights["bias_ih_l0"], weights["bias_hh_l0"]
        known = list(memory.split(self.hidden, dim=-1))
        # one step of the same LSTM, as operations that can be exported
        h, c = torch.lstm_cell(self.encoder.encode(inputs), known, of_inputs, of_memory, *biases)
        logits, mean, _ = self.modes(h)
        best = logits.argmax(dim=-1)[:, None, None, None]
        chosen = mean.take_along_dim(best, dim=1).squeeze(1)
        return Proposed(chosen, torch.cat([h, c], dim=-1))

    def loss(self, inputs: Inputs, labels: Tensor, box: Box, real: Tensor) -> Tensor:
        """Negative log likelihood of sequences, per action entry [nats]."""
        del box
        states, _ = self.lstm(self.encoder.encode(inputs).unflatten(0, real.shape))
        logits, mean, std = self.modes(states.flatten(0, 1))
        each = log_density(logits, mean, std, labels) / labels[0].numel()
        return -each[real.flatten()].mean()

    def modes(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, K), means and standard deviations (B, K, H, A)."""
        both = self.mixture(h).unflatten(-1, (MODES, -1))
        mean, raw = both[..., 1:].unflatten(-1, (2, *self.shape)).unbind(dim=2)
        return both[..., 0], mean, LEAST_STD + functional.softplus(raw)


def log_density(logits: Tensor, mean: Tensor, std: Tensor, actions: Tensor) -> Tensor:
    """Log density of chunks (B, H, A) under mixtures of logits (B, K), shape (B,) [nats]."""
    apart = (actions[:, None] - mean) / std
    each = -0.5 * (apart.square() + math.log(2 * math.pi)) - std.log()
    return (logits.log_softmax(dim=-1) + each.sum(dim=(2, 3))).logsumexp(dim=-1)
