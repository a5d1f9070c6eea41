# SPDX-License-Identifier: MIT
"""What the loop needs of its surroundings, and the one thing that it gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .pipeline import PlannedMotion


@dataclass(frozen=True)
class Clocks:
    """The two clocks of a node.

    Attributes:
        now_ns: The clock of the stamps, which may be simulated [ns].
        steady_s: A clock that nobody can set [s].
    """

    now_ns: Callable[[], int]
    steady_s: Callable[[], float]


@dataclass(frozen=True)
class PlanEvent:
    """Something has come of the loop; the status, at least, is another one.

    Attributes:
        motion: A plan was made; None when there is none.
        send: Its trajectory is to go to the guard.
        error: A text for the log; empty for none.
    """

    motion: PlannedMotion | None = None
    send: bool = False
    error: str = ""


class PlanSink(Protocol):
    """Where events go. Called by the planner's thread and by that of the callbacks."""

    def publish(self, event: PlanEvent) -> None:
        """Tell whoever listens."""
        ...

    def publish_latent(self) -> bool:
        """Whether plans are to carry the encoded observation."""
        ...


class InputQueue(Protocol):
    """What has come for the observer and waits to be taken."""

    def take(self) -> None:
        """The observer has what has come up to now."""
        ...

    def unpublished(self, silent_only: bool = False) -> list[str]:
        """A sentence for every stream that no node publishes."""
        ...
