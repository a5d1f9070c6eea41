# SPDX-License-Identifier: MIT
"""Perceptrons with two hidden ELU layers."""

from __future__ import annotations

from torch import nn

from difftori_models.contract.network_settings import Network


def perceptron(network: Network, size: int, out: int) -> nn.Sequential:
    """Two hidden layers as wide as the card says, with its dropout."""
    return nn.Sequential(
        nn.Linear(size, network.hidden),
        nn.ELU(),
        nn.Dropout(network.dropout),
        nn.Linear(network.hidden, network.hidden),
        nn.ELU(),
        nn.Dropout(network.dropout),
        nn.Linear(network.hidden, out),
    )


def two_layers(size: int, hidden: int, out: int) -> nn.Sequential:
    """Two hidden layers without dropout."""
    return nn.Sequential(
        nn.Linear(size, hidden),
        nn.ELU(),
        nn.Linear(hidden, hidden),
        nn.ELU(),
        nn.Linear(hidden, out),
    )
