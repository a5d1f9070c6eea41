# SPDX-License-Identifier: MIT
"""Made-up observations that fit any card: all that a plan needs, and nothing seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from difftori_models.contract.specs import Observation, ObservationSpec

TIP = np.array([0.5, 0.0, 0.2, 1.0, 0.0, 0.0, 0.0])
"""Where the tip is, about [m], and a quaternion."""
SPREAD = np.array([0.05, 0.05, 0.05, 0, 0, 0, 0])
NEAR_M = 0.1
"""Farthest point of the cloud from the tip, along each axis [m]."""


def made_up(spec: ObservationSpec, rng: np.random.Generator) -> Observation:
    """An observation with every stream and frame that `spec` asks for."""
    count = len(spec.joint_names)
    points = None
    if spec.points is not None:
        xyz = TIP[:3] + rng.uniform(-NEAR_M, NEAR_M, (spec.points.count, 3))
        rgb = rng.uniform(0, 1, (spec.points.count, 3 if spec.points.color else 0))
        points = np.hstack([xyz, rgb]).astype(np.float32)
    seen = Observation(
        stamp_ns=0,
        joint_names=spec.joint_names,
        position=rng.uniform(-0.5, 0.5, count),
        velocity=np.zeros(count),
        poses={name: TIP + SPREAD * rng.standard_normal(7) for name in (*spec.tips, *spec.poses)},
        points=points,
        images={
            name: rng.integers(0, 256, (image.height, image.width, 3), dtype=np.uint8)
            for name, image in spec.images.items()
        },
        vectors={name: rng.standard_normal(length) for name, length in spec.vectors.items()},
    )
    return replace(seen, past=(seen,) * (spec.frames - 1))
