# SPDX-License-Identifier: MIT
"""The SROS2 policy allows the nodes exactly what they use, and the operator what the docs say."""

import contextlib
import importlib.util
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from difftori_ros.bringup.node_specs import policy_specs, sim_specs
from difftori_ros.config.paths import config_dir

FILE = config_dir() / "sros2" / "policies.xml"
NODES = ("policy_node", "guard_node", "blackbox_node", "sim_bridge")
USES = ("publish", "subscribe", "reply", "request")
NO_TF = importlib.util.find_spec("tf2_msgs") is None
CHECKPOINT = "pick_cube_points"


def profiles() -> dict[str, ElementTree.Element]:
    """Enclave -> its one profile, of the node of the same name."""
    found = {}
    for enclave in ElementTree.parse(FILE).getroot().iter("enclave"):
        [profile] = enclave.iter("profile")
        found[enclave.attrib["path"]] = profile
    return found


def allowed(profile: ElementTree.Element) -> dict[str, set[str]]:
    """Use -> full names, as sros2 expands them in the namespace `/`."""
    found: dict[str, set[str]] = {use: set() for use in USES}
    for group in profile:
        uses = [use for use in USES if group.attrib.get(use) == "ALLOW"]
        for entry in group:
            name = (entry.text or "").replace("~/", f"/{profile.attrib['node']}/")
            for use in uses:
                found[use].add(name if name.startswith("/") else f"/{name}")
    return found


def used(node, name: str) -> dict[str, set[str]]:
    """What a running node has open."""
    asked = {
        "publish": node.get_publisher_names_and_types_by_node,
        "subscribe": node.get_subscriber_names_and_types_by_node,
        "reply": node.get_service_names_and_types_by_node,
        "request": node.get_client_names_and_types_by_node,
    }
    return {use: {topic for topic, _ in ask(name, "/")} for use, ask in asked.items()}


def test_every_node_has_an_enclave_of_its_own_and_so_has_the_operator():
    found = profiles()
    assert set(found) == {f"/difftori/{name}" for name in (*NODES, "operator")}
    assert all(path.endswith("/" + p.attrib["node"]) for path, p in found.items())
    assert {p.attrib["ns"] for p in found.values()} == {"/"}
    assert ElementTree.parse(FILE).getroot().attrib == {"version": "0.2.0"}


def test_there_are_no_comments_inside_as_sros2_takes_them_for_enclaves():
    assert "<!--" not in FILE.read_text().split("<policy", 1)[1]


def test_only_the_guard_may_command_the_controllers():
    for path, profile in profiles().items():
        commands = [name for name in allowed(profile)["publish"] if "_controller/" in name]
        assert bool(commands) is (path == "/difftori/guard_node"), path


def test_nothing_is_allowed_by_a_pattern():
    text = FILE.read_text()
    entries = [e.text or "" for e in ElementTree.fromstring(text).iter() if not len(e)]
    assert not [entry for entry in entries if "*" in entry or "?" in entry]
    assert "DENY" not in text  # what is not allowed is denied


@pytest.mark.vulkan
def test_every_node_uses_exactly_what_it_is_allowed(graph):
    dry = {"dry_run": True}
    simulated = sim_specs(
        CHECKPOINT, "panda", "wall", parameters={"start": False}, policy_parameters=dry
    )
    *_, blackbox = policy_specs(CHECKPOINT, "panda", blackbox=True)
    for spec in simulated:
        graph.start(spec)
    settings = {**blackbox.parameters, "folder": graph.environment["ROS_LOG_DIR"]}
    graph.start(replace(blackbox, parameters={**settings, "use_sim_time": True}))
    wanted = {name: allowed(profiles()[f"/difftori/{name}"]) for name in NODES}
    if NO_TF:
        for uses in wanted.values():
            for names in uses.values():
                names -= {"/tf", "/tf_static"}

    def found():
        there = graph.node.get_node_names()
        return {name: used(graph.node, name) for name in NODES if name in there}

    with contextlib.suppress(AssertionError):  # what differs is shown by the comparison below
        graph.until(lambda: found() == wanted, limit_s=40.0)
    assert found() == wanted
