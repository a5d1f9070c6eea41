# SPDX-License-Identifier: MIT
"""What a run tells: one JSON object per episode and evaluation, and the same for TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from difftori_models.contract.strict_json import JsonError, loads, write_atomically
from difftori_models.training.run_state import ResumeError


class Log:
    """`metrics.jsonl` and `tensorboard/` of a run; rows past the state that goes on are dropped.

    Attributes:
        rows: Everything in the file.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Open the log of a run that goes on at `step`; 0 for a new one.

        Raises:
            ResumeError: A line of it cannot be read.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._file = folder / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        if step and self._file.is_file():
            for line in self._file.read_text().splitlines():
                # a line that a kill has cut short was past the state
                try:
                    row = loads(line) if line.endswith("}") else {"step": step + 1}
                except JsonError as error:
                    raise ResumeError(f"{self._file}: {error}") from error
                if row["step"] <= step:
                    self.rows.append(row)
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self._file, text.encode())
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, row: dict[str, Any]) -> None:
        """One more row; it is in the file before this returns."""
        self.rows.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for key, value in row.items():
            if key not in ("kind", "step"):
                self._board.add_scalar(f"{row['kind']}/{key}", value, row["step"])

    def close(self) -> None:
        """Write what is left."""
        self._board.close()
