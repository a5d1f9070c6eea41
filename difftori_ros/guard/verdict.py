# SPDX-License-Identifier: MIT
"""What the guard says: its state, what became of a plan, and what it has done so far."""

from __future__ import annotations

from dataclasses import dataclass

from difftori_ros.types import GuardState, Level, Reason, Trajectory


@dataclass(frozen=True)
class Verdict:
    """What became of a plan.

    Attributes:
        accepted: True when it may be executed.
        reason: OK; GUARD_ACTIVE when it was changed; or why it was refused.
        detail: One sentence with numbers.
        channels: What goes to the controllers: the arm's part, then the gripper's if there is one.
        changed: The plan as it was changed; None when it is as it came.
    """

    accepted: bool
    reason: Reason
    detail: str
    channels: tuple[Trajectory, ...] = ()
    changed: Trajectory | None = None


@dataclass(frozen=True)
class Judged:
    """A plan that has been checked by itself; whether it joins is asked when it is to be sent.

    Attributes:
        plan: The plan as it may be executed; None when it may not.
        slowdown: Share of its speed or path that was taken from it [1].
        detail: What was done to it; empty for nothing. Or why it is refused.
        reason: OK; GUARD_ACTIVE when it was changed; or why it is refused.
        channels: What would go to the controllers.
        late_s: How much later it begins than it was planned to [s].
    """

    plan: Trajectory | None
    slowdown: float
    detail: str
    reason: Reason
    channels: tuple[Trajectory, ...] = ()
    late_s: float = 0.0


@dataclass(frozen=True)
class Latched:
    """What is held until a reset or resume: a fault, a pause, or both.

    Attributes:
        fault: Why a fault is held; None for none.
        detail: Its numbers.
        paused: Whether a pause is held.
    """

    fault: Reason | None
    detail: str = ""
    paused: bool = False


@dataclass(frozen=True)
class GuardStatus:
    """The guard's state, why and since when [s, steady clock] it holds, and what it has done.

    `accepted`, `changed` and `refused` count plans; `slowdown` is the share of speed or path that
    was taken from the last one [1].
    """

    state: GuardState
    reason: Reason
    level: Level
    detail: str
    since_steady_s: float
    accepted: int
    changed: int
    refused: int
    slowdown: float
