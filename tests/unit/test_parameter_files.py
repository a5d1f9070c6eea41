# SPDX-License-Identifier: MIT
"""Parameter files give the values to a command that they give to the node."""

import pytest
import yaml

from difftori_ros.config.parameter_files import ParameterFileError, values_of
from difftori_ros.config.parameters import POLICY
from difftori_ros.config.paths import config_dir


def test_shipped_file_gives_the_defaults():
    given = values_of("policy_node", POLICY, [config_dir() / "policy.yaml"])
    assert given == values_of("policy_node", POLICY)
    assert given == {parameter.name: parameter.default for parameter in POLICY}


def test_later_files_are_laid_over_earlier_ones_and_other_nodes_are_left_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    own = {"trigger": "observation", "use_sim_time": True}
    sections = {"policy_node": {"ros__parameters": own}, "guard_node": {"ros__parameters": {}}}
    path.write_text(yaml.safe_dump(sections))
    given = values_of("policy_node", POLICY, [config_dir() / "sim.yaml", path])
    assert given["trigger"] == "observation"
    assert given["camera_frame"] == "camera_optical_frame"  # of the first file
    assert "use_sim_time" not in given


@pytest.mark.parametrize("key", ["/**", "/left/policy_node", "policy_node"])
def test_every_way_to_name_the_node_is_understood(tmp_path, key):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: {"ros__parameters": {"seed": 7}}}))
    assert values_of("policy_node", POLICY, [path])["seed"] == 7


def test_value_that_is_not_allowed_is_named_with_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"policy_node": {"ros__parameters": {"trigger": "never"}}}))
    with pytest.raises(ParameterFileError, match=r"mine\.yaml: parameter 'trigger'"):
        values_of("policy_node", POLICY, [path])
    path.write_text("a: [")
    with pytest.raises(ParameterFileError, match="is no parameter file"):
        values_of("policy_node", POLICY, [path])
