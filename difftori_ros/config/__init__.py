# SPDX-License-Identifier: MIT
"""Parameters of the nodes, the YAML files that set them, and where shipped files lie."""

from .parameter_files import ParameterFileError, values_of
from .parameters import BLACKBOX, GUARD, POLICY, Parameter
from .paths import available_checkpoints, checkpoint_dir, config_dir, find_checkpoint

__all__ = [
    "BLACKBOX",
    "GUARD",
    "POLICY",
    "Parameter",
    "ParameterFileError",
    "available_checkpoints",
    "checkpoint_dir",
    "config_dir",
    "find_checkpoint",
    "values_of",
]
