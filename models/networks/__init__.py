# SPDX-License-Identifier: MIT
"""Encoders: state vector, cloud and images become one latent z per observation."""

from .fusion import Encoder, Inputs
from .image import ImageEncoder
from .points import PointEncoder
from .state import StateEncoder

__all__ = ["Encoder", "ImageEncoder", "Inputs", "PointEncoder", "StateEncoder"]
