# SPDX-License-Identifier: MIT
"""The lines of a run for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from difftori_models.training.run_log import Row


class TensorBoard:
    """`tensorboard/` of a run; what it shows past the step that a run goes on from is dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the folder of a run that goes on at `step`; 0 for a new one."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, row: Row) -> None:
        """Every number of a line as `<phase>/<name>`."""
        for key, value in row.items():
            if key not in ("phase", "step"):
                self._writer.add_scalar(f"{row['phase']}/{key}", value, row["step"])

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
