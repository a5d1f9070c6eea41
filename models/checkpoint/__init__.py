# SPDX-License-Identifier: MIT
"""Checkpoints on disk: a card and tensors, read strictly, never unpickled. No torch.

`files` saves and loads the directory, `card` decodes `card.json` in the present and in older
schemas, `card_checks` and `observation_checks` say whether its parts fit each other, and
`weights` turns tensors into bytes and back. `difftori_models.policies.load` builds the networks.
"""

from .card import decode_card, migrate
from .card_checks import check_card, is_plain_name
from .errors import CheckpointError
from .files import CARD, WEIGHTS, load_card, load_tensors, save, update_results

__all__ = [
    "CARD",
    "WEIGHTS",
    "CheckpointError",
    "check_card",
    "decode_card",
    "is_plain_name",
    "load_card",
    "load_tensors",
    "migrate",
    "save",
    "update_results",
]
