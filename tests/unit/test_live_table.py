# SPDX-License-Identifier: MIT
"""The table of an episode under way fits its terminal, and its states are whole."""

import io
import itertools
import math

import pytest
from rich.console import Console

from difftori_models.contract.specs import PlanStatus
from difftori_ros.types import GuardState, Reason
from difftori_sim.cli.live_table import COLUMNS, GUARD, POLICY, SHOWN, PlanRow, live_table

STATES = [("OK", status.name) for status in PlanStatus]
STATES += [(reason.name, "REFINED") for reason in Reason if reason is not Reason.OK]


def row(code: str = "OK", plan: str = "REFINED", guard: str = "TRACKING", **values) -> PlanRow:
    told = {
        "code": code,
        "plan": plan,
        "plan_ms": "1234.56",
        "iterations": "10",
        "objective_before": "-123.4567",
        "objective_after": "-23.4567",
        "age_joint_states": "0.01",
        "age_points": "0.12",
    }
    return PlanRow(told | values, guard, 12.345)


def rendered(rows: list[PlanRow], width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(live_table(rows, "episode 1 of 10", width))
    return text.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 60, 40, 28])
def test_states_of_policy_and_guard_are_whole_in_lines_that_fit(width):
    for (code, plan), guard in itertools.product(STATES, GuardState):
        lines = rendered([row(code, plan, guard.name)], width)
        assert all(len(line) <= width for line in lines)
        assert lines[-1].split()[-2:] == [plan if code == "OK" else code, guard.name]


def test_every_column_is_there_at_80_and_its_numbers_are_whole():
    lines = rendered([row()], 80)
    heads = " ".join(lines[1:3]).split()
    for column in COLUMNS:
        assert set(column.head.split()) <= set(heads)
    assert heads.count("objective") == 2
    assert lines[3].split() == [
        *("12.35", "1234.6", "10", "-123.457", "-23.457", "0.12", "REFINED", "TRACKING")
    ]


def test_a_narrow_terminal_does_without_numbers_and_never_without_states():
    kept = {width: rendered([row()], width)[-1].split() for width in (79, 60, 40, 28)}
    assert kept[79] == ["12.35", "1234.6", "-123.457", "-23.457", "0.12", "REFINED", "TRACKING"]
    assert kept[60] == ["12.35", "1234.6", "-23.457", "REFINED", "TRACKING"]
    assert kept[40] == ["12.35", "REFINED", "TRACKING"]
    assert kept[28] == ["REFINED", "TRACKING"]


def test_the_newest_plans_are_shown_with_the_guard_as_it_was_then():
    rows = [row(iterations=str(k), guard=GuardState.TRACKING.name) for k in range(SHOWN + 3)]
    rows.append(row(iterations="99", guard=GuardState.BRAKE.name))
    lines = rendered(rows, 80)[3:]
    assert [line.split()[2] for line in lines] == [
        *map(str, range(4, SHOWN + 3)),
        "99",
    ]
    assert [line.split()[-1] for line in lines] == ["TRACKING"] * (SHOWN - 1) + ["BRAKE"]


def test_a_policy_without_an_objective_has_none_to_show():
    assert "nan" in rendered([row(objective_before=str(math.nan))], 80)[-1]


def test_columns_of_states_are_as_wide_as_the_longest_of_them():
    assert POLICY.width == max(len(plan if code == "OK" else code) for code, plan in STATES)
    assert max(len(state.name) for state in GuardState) == GUARD.width
