# SPDX-License-Identifier: MIT
"""Every error that a user can meet is caught by the base of its side."""

import ast
from pathlib import Path

import pytest

from difftori_models.checkpoint import CheckpointError, load_card
from difftori_models.errors import LearningError
from difftori_ros.errors import DifftoriError
from difftori_ros.robot.profile import ProfileError, load_profile

ROOT = Path(__file__).resolve().parents[2]
BASES = {"models": "LearningError", "difftori_ros": "DifftoriError", "sim": "DifftoriError"}
WITHIN = {"RefusedError"}
"""Errors that never leave the package that raises them, beside those that begin with `_`."""


def defined(folder: str) -> dict[str, set[str]]:
    """Name of every error class of a folder -> names of its bases."""
    classes = [
        node
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in classes
    }
    return {
        name: of
        for name, of in bases.items()
        if any(word.endswith(("Error", "Exception")) for word in (name, *of))
    }


@pytest.mark.parametrize("folder", BASES)
def test_every_error_has_the_base_of_its_side(folder: str) -> None:
    base = BASES[folder]
    errors = {
        name: bases
        for name, bases in defined(folder).items()
        if name != base and name not in WITHIN and not name.startswith("_")
    }
    assert len(errors) > 3
    assert [name for name, bases in errors.items() if base not in bases] == []


def test_an_error_is_caught_by_its_base_and_by_the_builtin_that_it_is() -> None:
    for base in (LearningError, ValueError):
        with pytest.raises(base, match="no checkpoint at"):
            load_card("nowhere")
    for base in (DifftoriError, ValueError):
        with pytest.raises(base, match="robot"):
            load_profile("nowhere")
    assert not issubclass(CheckpointError, DifftoriError)
    assert not issubclass(ProfileError, LearningError)
