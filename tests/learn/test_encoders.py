# SPDX-License-Identifier: MIT
"""The encoders: order of points, gradient through the maximum, places in pictures, fusion."""

from __future__ import annotations

import pytest
import torch

from difftori_models.contract.network_settings import Network
from difftori_models.networks import Encoder, ImageEncoder, Inputs, PointEncoder


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


def picture(x: int, y: int, size: int = 64) -> torch.Tensor:
    image = torch.full((1, size, size, 3), 90, dtype=torch.uint8)
    image[:, y - 4 : y + 4, x - 4 : x + 4] = torch.tensor([230, 30, 30], dtype=torch.uint8)
    return image


def test_a_thing_that_moves_in_the_picture_moves_the_keypoints_the_same_way() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder().eval()
    with torch.no_grad():
        here, aside = encoder.keypoints(picture(24, 32)), encoder.keypoints(picture(40, 32))
        below = encoder.keypoints(picture(24, 48))
    seen = (aside - here)[..., 0] > 0.1
    assert seen.float().mean() > 0.2, "some channels follow it even before training"
    assert ((aside - here)[..., 1][seen].abs() < 0.1).all()
    assert ((below - here)[..., 1] > 0.1).float().mean() > 0.2


@pytest.mark.parametrize("shape", [(64, 96), (80, 80), (33, 17)])
def test_one_set_of_weights_takes_every_size_and_gives_keypoints_inside(shape) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder().eval()
    images = torch.randint(0, 256, (2, *shape, 3), dtype=torch.uint8)
    assert encoder(images).shape == (2, 64)
    assert encoder.keypoints(images).abs().max() <= 1.0


def test_every_camera_reaches_the_latent_through_weights_of_its_own() -> None:
    torch.manual_seed(0)
    encoder = Encoder(Network(state=4, images=2)).eval()
    state, one, other = torch.randn(1, 4), picture(20, 20), picture(40, 40)
    z = encoder.encode(Inputs(state, None, (one, other)))
    for images in ((other, other), (one, one), (other, one)):
        assert not torch.equal(z, encoder.encode(Inputs(state, None, images)))
    z.sum().backward()
    for camera in encoder.images:
        assert all(weight.grad is not None for weight in camera.parameters())


def test_a_camera_without_its_picture_is_an_error() -> None:
    encoder = Encoder(Network(state=4, images=2))
    with pytest.raises(ValueError, match="zip"):
        encoder.encode(Inputs(torch.randn(1, 4), None, (picture(20, 20),)))
