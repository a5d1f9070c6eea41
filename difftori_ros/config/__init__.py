# SPDX-License-Identifier: MIT
"""Parameters of the nodes, the YAML files that set them, and where shipped files lie."""

from .parameter import Parameter, parameter, parameters_of
from .parameter_files import ParameterFileError, values_of
from .parameters import BLACKBOX, POLICY
from .paths import available_checkpoints, checkpoint_dir, config_dir, find_checkpoint

__all__ = [
    "BLACKBOX",
    "POLICY",
    "Parameter",
    "ParameterFileError",
    "available_checkpoints",
    "checkpoint_dir",
    "config_dir",
    "find_checkpoint",
    "parameter",
    "parameters_of",
    "values_of",
]
