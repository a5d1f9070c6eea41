# SPDX-License-Identifier: MIT
"""What every test has: the import names, ROS settings of its own, and a plain word on Vulkan."""

import functools
import importlib.util
import itertools
import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What runs in the background of a shell ignores these two, and so would the nodes of its tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Before anything imports rclpy, its messages or torch, which read them once.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# MuJoCo as well: without a word it looks for a display.
os.environ.setdefault("MUJOCO_GL", "egl")

_domain = itertools.count(os.getpid() * 7)
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def next_domain() -> str:
    """A ROS domain that no other test of this run uses soon; 1 to 100 are free on every system.

    Tests that run side by side have a range of them each.
    """
    span = max(1, 100 // _workers)
    return str(1 + (_worker * span + next(_domain) % span) % 100)


os.environ.setdefault("ROS_DOMAIN_ID", next_domain())


def alias(name: str, folder: str) -> None:
    """`name` can be imported from the checkout, also when nothing is installed."""
    if importlib.util.find_spec(name) is not None:
        return
    path = ROOT / folder
    spec = importlib.util.spec_from_file_location(
        name, path / "__init__.py", submodule_search_locations=[str(path)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


alias("difftori_models", "models")
alias("difftori_sim", "sim")


@pytest.fixture(scope="session", autouse=True)
def ros_log_dir(tmp_path_factory):
    """Node logs go to the test's folder, not to the user's."""
    os.environ.setdefault("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
    # exported graphs are for all workers of this run, and not in the user's folder
    shared = tmp_path_factory.getbasetemp().parent / "cache"
    os.environ["XDG_CACHE_HOME"] = str(shared)


@pytest.fixture(autouse=True)
def ros_home(tmp_path_factory, monkeypatch):
    """What a guard holds beyond its end is kept from the next test, and from the user's robot."""
    monkeypatch.setenv("ROS_HOME", str(tmp_path_factory.mktemp("ros_home")))


@pytest.fixture
def ros_env(tmp_path, monkeypatch) -> dict[str, str]:
    """The environment for node processes of one test; nodes in the test's own process share it."""
    monkeypatch.setenv("ROS_DOMAIN_ID", next_domain())
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    return dict(os.environ)


@functools.cache
def why_nothing_renders() -> str:
    """One sentence; empty when SAPIEN renders."""
    from difftori_sim.arm.vulkan import VulkanError, require_vulkan

    try:
        require_vulkan()
    except VulkanError as error:
        return str(error)
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that renders fails without a driver; it is skipped only by those who said so."""
    if item.get_closest_marker("vulkan") is None:
        return
    if os.environ.get("DIFFTORI_NO_VULKAN"):
        pytest.skip("DIFFTORI_NO_VULKAN is set")
    if why_nothing_renders():
        pytest.fail(why_nothing_renders(), pytrace=False)
