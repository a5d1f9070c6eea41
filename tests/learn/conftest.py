# SPDX-License-Identifier: MIT
"""Demonstrations and a trained checkpoint that the tests of the learning side share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.reach_task import make_demos, train


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "reach.npz"
    make_demos(path, 40)
    return path


@pytest.fixture(scope="session")
def trained(demos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DiffTORI checkpoint, trained for a few seconds."""
    out = tmp_path_factory.mktemp("run")
    return train(demos, out, base_steps=600, head_steps=300, save_every=100, ema=0.98, batch=64)
