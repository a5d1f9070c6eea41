# SPDX-License-Identifier: MIT
"""The lines of a run: one JSON object for each validation, episode or evaluation.

Every line has `phase` (`base` and `head` of imitation, `train` and `eval` of
reinforcement learning), `step` (updates of the phase, or steps of the run) and `seconds` that the
run has taken; all else is numbers by name.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from difftori_models.contract.strict_json import JsonError, loads, write_atomically

from .errors import ResumeError

Row = dict[str, Any]
METRICS = "metrics.jsonl"
"""Name of the file in the directory of a run."""


class RunLog:
    """`metrics.jsonl` of a run.

    Attributes:
        rows: Everything in the file.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        """Open the log of a run that goes on from a state saved after `kept` lines.

        Raises:
            ResumeError: A line of it cannot be read.
        """
        self._file = folder / METRICS
        self.rows = read_rows(folder)[:kept]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self._file, text.encode())

    def add(self, row: Row) -> None:
        """One more line; it is in the file before this returns."""
        self.rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_rows(folder: Path) -> list[Row]:
    """The whole lines of a run's log; one that a kill has cut short is none.

    Raises:
        ResumeError: A line cannot be read.
    """
    file = folder / METRICS
    if not file.is_file():
        return []
    try:
        return [
            loads(line) for line in file.read_text().splitlines(keepends=True) if line[-1:] == "\n"
        ]
    except JsonError as error:
        raise ResumeError(f"{file}: {error}") from error
