# SPDX-License-Identifier: MIT
"""Parameters are declared once; files and reference page follow from the declarations."""

import runpy
from pathlib import Path

import pytest
import yaml

from difftori_ros.config.parameter import group_of
from difftori_ros.config.parameters import BLACKBOX, POLICY
from difftori_ros.guard.config import GUARD, GuardConfig
from difftori_sim.ros.bridge_parameters import BRIDGE

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"policy_node": POLICY, "guard_node": GUARD, "blackbox_node": BLACKBOX}


def test_files_and_reference_page_are_as_they_are_generated():
    assert runpy.run_path(str(ROOT / "scripts" / "generate_docs.py"))["outdated"]() == []


@pytest.mark.parametrize("node", TABLES)
def test_yaml_file_gives_every_default(node):
    path = ROOT / "config" / f"{node.removesuffix('_node')}.yaml"
    given = yaml.safe_load(path.read_text())["/**"][node]["ros__parameters"]
    assert given == {parameter.name: parameter.default for parameter in TABLES[node]}


@pytest.mark.parametrize("parameters", [*TABLES.values(), BRIDGE], ids=[*TABLES, "sim_bridge"])
def test_every_parameter_has_its_own_name_and_an_allowed_default(parameters):
    assert len({parameter.name for parameter in parameters}) == len(parameters)
    assert [complaint for one in parameters if (complaint := one.check(one.default))] == []


def test_values_of_the_node_become_the_config_of_the_guard():
    values = {parameter.name: parameter.default for parameter in GUARD}
    assert group_of(GuardConfig, values) == GuardConfig()
    changed = group_of(GuardConfig, values | {"coast_s": 0.7, "workspace_lower": [0.0, 0.0, 0.1]})
    assert changed == GuardConfig(coast_s=0.7, workspace_lower=(0.0, 0.0, 0.1))


def test_description_holds_the_unit():
    parameter = next(one for one in GUARD if one.name == "coast_s")
    assert parameter.description.endswith("before it brakes. [s]")


def test_value_out_of_range_is_named_with_the_range():
    deadline = next(parameter for parameter in POLICY if parameter.name == "deadline_s")
    assert deadline.check(11.0) == "parameter 'deadline_s': wanted 0 to 10, got 11.0"


def test_value_that_is_no_choice_is_named_with_the_choices():
    device = next(parameter for parameter in POLICY if parameter.name == "device")
    assert device.check("tpu") == "parameter 'device': wanted one of cpu, cuda, got 'tpu'"
