# SPDX-License-Identifier: MIT
"""A card from JSON: older schemas are migrated, then it is decoded strictly."""

from __future__ import annotations

import json
from typing import Any

from difftori_models.contract.network_settings import RL_METHODS, STARTS, Solver
from difftori_models.contract.specs import SCHEMA, Card
from difftori_models.contract.strict_json import decode
from difftori_models.contract.world_model_settings import WorldSolver

from .errors import CheckpointError

OLDEST_SCHEMA = 2
"""The oldest schema that is read: what it does not know has the default of the dataclass."""


def decode_card(data: Any) -> Card:
    """The card that parsed JSON describes. Entries that are left out have their defaults.

    Raises:
        CheckpointError: The schema is not known.
        JsonError: A key is missing or unknown, or a value has another type.
    """
    if not isinstance(data, dict):
        return decode(Card, data)
    data = migrate(data)
    if "solver" in data:
        kind = WorldSolver if data.get("method") in RL_METHODS else Solver
        data["solver"] = decode(kind, data["solver"], "solver")
    return decode(Card, data)


def migrate(data: dict[str, Any]) -> dict[str, Any]:
    """The card's JSON in the present schema; the given one stays as it is.

    | schema | what changed |
    |---|---|
    | 3 | images, stacked frames, several clouds; a card of schema 2 has none of them |
    | 4 | `base` is `null` where a policy was learned by reward, and never left out elsewhere: it \
used to mean `bc`; `network.score` is called `network.objective`; a solve has one `start` and one \
CVAE latent, and its last iterate is the answer: `answer`, `starts` and `latents` are gone |

    Raises:
        CheckpointError: The schema is not known.
    """
    schema = data.get("schema")
    known = range(OLDEST_SCHEMA, SCHEMA + 1)
    if type(schema) is not int or schema not in known:
        raise CheckpointError(
            f"unknown card schema {json.dumps(schema)}; this version reads "
            f"{OLDEST_SCHEMA} to {SCHEMA}"
        )
    data = data | {"schema": SCHEMA}
    if schema < 4:
        data["base"] = None if data.get("method") in RL_METHODS else data.get("base", "bc")
        network = data.get("network")
        if isinstance(network, dict) and "score" in network:
            others = {key: value for key, value in network.items() if key != "score"}
            data["network"] = others | {"objective": network["score"]}
        if isinstance(data.get("solver"), dict):
            data["solver"] = _one_solve(data["solver"])
    return data


def _one_solve(solver: dict[str, Any]) -> dict[str, Any]:
    """The entry `solver` of a card before schema 4, which could ask for several solves.

    Raises:
        CheckpointError: It does.
    """
    solver = dict(solver)
    answer, latents = solver.pop("answer", "last"), solver.pop("latents", 1)
    starts = solver.pop("starts", ["base"])
    if answer != "last" or latents != 1 or not isinstance(starts, list) or len(starts) != 1:
        raise CheckpointError(
            f"solver.answer is {json.dumps(answer)}, starts {json.dumps(starts)} and latents "
            f"{json.dumps(latents)}: there is one solve from one of {', '.join(STARTS)} with one "
            "latent, and its last iterate is the answer"
        )
    return solver | {"start": starts[0]}
