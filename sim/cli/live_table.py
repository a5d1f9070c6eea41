# SPDX-License-Identifier: MIT
"""The table of an episode under way: one row per plan, the newest last.

The states of policy and guard are words that a person acts on, so they are always whole. Where the
terminal is too narrow for everything, the numbers give way, those that matter least first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from difftori_models.contract.specs import PlanStatus
from difftori_ros.types import GuardState, Reason

SHOWN = 8
"""Rows, those of the newest plans."""
GAP = 2
"""Spaces between two columns."""


@dataclass(frozen=True)
class PlanRow:
    """What the table shows of a plan.

    Attributes:
        policy: Values of `policy_node/status` of the plan, by key.
        guard: GuardState of the guard when the plan was heard of.
        time_s: Time of the plan's observation in the episode [s].
    """

    policy: Mapping[str, str]
    guard: str
    time_s: float

    @property
    def age_s(self) -> float:
        """Age of the plan's oldest input [s]."""
        ages = [float(text) for key, text in self.policy.items() if key.startswith("age_")]
        return max(ages, default=0.0)

    @property
    def state(self) -> str:
        """How the plan came about, or the code of what was in its way."""
        code = self.policy["code"]
        return self.policy["plan"] if code == Reason.OK.name else code


@dataclass(frozen=True)
class Column:
    """A column: its head, in two lines, its width in characters, and what stands in it."""

    head: str
    width: int
    text: Callable[[PlanRow], str]
    number: bool = True


TIME = Column("time\n[s]", 6, lambda row: f"{row.time_s:.2f}")
PLAN = Column("plan\n[ms]", 6, lambda row: f"{float(row.policy['plan_ms']):.1f}")
ITERATIONS = Column("iter.\n", 5, lambda row: row.policy["iterations"])
BEFORE = Column("objective\nbefore", 9, lambda row: f"{float(row.policy['objective_before']):.3f}")
AFTER = Column("objective\nafter", 9, lambda row: f"{float(row.policy['objective_after']):.3f}")
AGE = Column("age\n[s]", 5, lambda row: f"{row.age_s:.2f}")
POLICY = Column(
    "policy\n", max(len(one.name) for one in (*PlanStatus, *Reason)), lambda row: row.state, False
)
GUARD = Column("guard\n", max(len(one.name) for one in GuardState), lambda row: row.guard, False)
COLUMNS = (TIME, PLAN, ITERATIONS, BEFORE, AFTER, AGE, POLICY, GUARD)
"""Age is that of the oldest input; the objective is that of the base policy's actions, and of the
refined ones: refining raises it."""
GIVE_WAY = (ITERATIONS, BEFORE, AGE, PLAN, AFTER, TIME)
"""Columns that a narrow terminal does without, in this order."""


def live_table(rows: Sequence[PlanRow], title: str, width: int) -> Table:
    """The newest plans.

    Args:
        rows: Plans of the episode.
        title: What stands above.
        width: Characters in a line of the terminal.
    """
    columns = columns_within(width)
    table = Table(title=escape(title), box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            escape(column.head),
            justify="right" if column.number else "left",
            min_width=column.width,
            no_wrap=True,
        )
    for row in rows[-SHOWN:]:
        table.add_row(*(escape(column.text(row)) for column in columns))
    return table


def columns_within(width: int) -> tuple[Column, ...]:
    """The columns that fit into a line; policy and guard are always among them."""
    kept = list(COLUMNS)
    for column in GIVE_WAY:
        if sum(one.width for one in kept) + GAP * (len(kept) - 1) <= width:
            break
        kept.remove(column)
    return tuple(kept)
