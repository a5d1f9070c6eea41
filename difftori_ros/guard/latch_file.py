# SPDX-License-Identifier: MIT
"""What the guard holds outlives its process: a fault or a pause, in a file of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from difftori_ros.types import Reason

from .verdict import Latched


def latch_path(namespace: str, node: str) -> Path:
    """The file of one node: `$ROS_HOME/difftori/<namespace>.<node>.json`, else below `~/.ros`."""
    home = os.path.expanduser(os.environ.get("ROS_HOME") or "~/.ros")
    name = f"{namespace}/{node}".strip("/").replace("/", ".")
    return Path(home) / "difftori" / f"{name}.json"


class LatchFile:
    """Keeps what is latched. The file is there while something is, and never half of it."""

    def __init__(self, path: Path):
        self.path = path
        self._kept: Latched | None = None

    def read(self) -> Latched | None:
        """What an earlier process has held; a file that cannot be read counts as a fault."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            self._kept = Latched(Reason.FAULT_LATCHED, f"{self.path} cannot be read: {error}")
            return self._kept
        try:
            kept = json.loads(text)
            fault = None if kept["fault"] is None else Reason[kept["fault"]]
            if not isinstance(kept["paused"], bool) or fault in (Reason.OK, Reason.WAITING):
                raise ValueError("not what is written here")
            self._kept = Latched(fault, str(kept["detail"]), kept["paused"])
        except (ValueError, KeyError, TypeError, RecursionError):
            self._kept = Latched(Reason.FAULT_LATCHED, f"{self.path} is damaged")
        return self._kept

    def keep(self, latched: Latched | None) -> str | None:
        """The file says what is latched, or is gone when nothing is.

        Returns:
            Why that failed, which is tried again; None when it did not, or nothing has changed.
        """
        if latched == self._kept:
            return None
        try:
            if latched is None:
                self.path.unlink(missing_ok=True)
                self._kept = None
                return None
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(f".{os.getpid()}")
            fault = latched.fault and latched.fault.name
            text = json.dumps({"fault": fault, "detail": latched.detail, "paused": latched.paused})
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(self.path)
            self._kept = latched
        except OSError as error:
            return f"what is latched would not outlive this process: {error}"
        return None
