# SPDX-License-Identifier: MIT
"""The encoders: order of points, translation, and the gradient through the maximum."""

from __future__ import annotations

import torch

from difftori_models.encoders import Encoder, Inputs, PointEncoder
from difftori_models.network import Network


def cloud(batch: int = 3, points: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, points, 6, generator=generator)


def test_neither_the_order_of_points_nor_a_repeated_point_matters() -> None:
    torch.manual_seed(0)
    encoder, points = PointEncoder(6).eval(), cloud()
    shuffled = torch.cat([points[:, torch.randperm(40)], points[:, :5]], dim=1)
    torch.testing.assert_close(encoder(points), encoder(shuffled))


def test_the_winners_alone_have_the_gradient_of_the_whole_cloud() -> None:
    torch.manual_seed(0)
    encoder, points = PointEncoder(6).double(), cloud().double()
    weights = torch.randn(3, 64, dtype=torch.float64)
    results = []
    for training in (True, False):
        encoder.train(training)
        encoded = encoder(points)
        results.append(
            (encoded, torch.autograd.grad((encoded * weights).sum(), list(encoder.parameters())))
        )
    torch.testing.assert_close(results[0], results[1])


def test_a_cloud_and_a_state_both_reach_the_latent() -> None:
    torch.manual_seed(0)
    encoder = Encoder(Network(state=4, points=6)).eval()
    state, points = torch.randn(3, 4), cloud()
    z = encoder.encode(Inputs(state, points))
    assert z.shape == (3, 128)
    assert not torch.equal(z, encoder.encode(Inputs(state + 1, points)))
    assert not torch.equal(z, encoder.encode(Inputs(state, points + 1)))
