# SPDX-License-Identifier: MIT
"""The parameter tables, the shipped YAML files and the reference page say the same."""

from pathlib import Path

import pytest
import yaml

from difftori_ros.config.parameters import BLACKBOX, GUARD, POLICY, REAL_TIME, Parameter
from difftori_ros.guard.guard import GuardConfig

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"policy_node": POLICY, "guard_node": GUARD, "blackbox_node": BLACKBOX}


def row(parameter: Parameter) -> str:
    """The line of docs/reference/parameters.md."""
    limits = ", ".join(parameter.choices)
    if parameter.low is not None:
        limits = f"{parameter.low:g} to {parameter.high:g}"
    return f"| `{parameter.name}` | `{parameter.default!r}` | {limits} | {parameter.description} |"


@pytest.mark.parametrize("node", TABLES)
def test_yaml_file_repeats_every_default(node):
    path = ROOT / "config" / f"{node.removesuffix('_node')}.yaml"
    given = yaml.safe_load(path.read_text())["/**"][node]["ros__parameters"]
    assert given == {parameter.name: parameter.default for parameter in TABLES[node]}


@pytest.mark.parametrize("node", TABLES)
def test_reference_page_lists_every_parameter(node):
    page = (ROOT / "docs" / "reference" / "parameters.md").read_text()
    section = page.split(f"## {node}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [row(parameter) for parameter in TABLES[node]]


@pytest.mark.parametrize("node", TABLES)
def test_every_default_is_allowed(node):
    assert [parameter.check(parameter.default) for parameter in TABLES[node]] == [None] * len(
        TABLES[node]
    )


def test_guard_parameters_are_the_guard_config_with_its_defaults():
    config = GuardConfig()
    for parameter in GUARD:
        if parameter not in REAL_TIME and parameter.name not in ("robot", "output", "rate_hz"):
            mine = getattr(config, parameter.name)
            assert (list(mine) if isinstance(mine, tuple) else mine) == parameter.default


def test_value_out_of_range_is_named_with_the_range():
    deadline = next(parameter for parameter in POLICY if parameter.name == "deadline_s")
    assert deadline.check(11.0) == "parameter 'deadline_s': wanted 0 to 10, got 11.0"


def test_value_that_is_no_choice_is_named_with_the_choices():
    device = next(parameter for parameter in POLICY if parameter.name == "device")
    assert device.check("tpu") == "parameter 'device': wanted one of cpu, cuda, got 'tpu'"
