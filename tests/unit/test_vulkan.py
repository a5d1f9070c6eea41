# SPDX-License-Identifier: MIT
"""The simulator renders, or says in one sentence why it cannot and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from difftori_sim.arm import vulkan

ASK = """
import os, sys
from difftori_sim.arm.vulkan import VulkanError, require_vulkan
try:
    device = require_vulkan()
except VulkanError as error:
    sys.exit(str(error))
print(device)
"""


def ask(**environment: str) -> subprocess.CompletedProcess[str]:
    """What a fresh process finds: the Vulkan loader reads its variables once per process."""
    others = {name: value for name, value in os.environ.items() if name not in vulkan.VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", ASK],
        env={**others, **environment} if environment else None,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.vulkan
def test_sapien_can_render_here():
    answer = ask()
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() in ("cuda", "cpu")


def test_missing_driver_is_one_sentence_and_nothing_else():
    answer = ask(VK_ICD_FILENAMES="/nonexistent.json")
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [
        "VK_ICD_FILENAMES=/nonexistent.json names no Vulkan driver that SAPIEN can render with: "
        "unset it, or run ./scripts/setup, which installs one"
    ]


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    """An environment with a driver beside it, on a machine without a GPU, and no variable set."""
    driver = tmp_path / "vulkan" / "lvp_icd.json"
    driver.parent.mkdir()
    driver.write_text("{}")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(vulkan, "NVIDIA_KERNEL_DRIVER", tmp_path / "no_gpu")
    for name in vulkan.VARIABLES:
        # set before delete, so that the test's own changes are undone as well
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return driver


def test_shipped_driver_is_used_when_there_is_no_other(shipped):
    vulkan.use_shipped_driver()
    assert os.environ["VK_ICD_FILENAMES"] == str(shipped)


@pytest.mark.parametrize("name", vulkan.VARIABLES)
def test_a_users_own_choice_of_driver_stands(shipped, monkeypatch, name):
    monkeypatch.setenv(name, "/my/driver.json")
    vulkan.use_shipped_driver()
    assert {k: os.environ[k] for k in vulkan.VARIABLES if k in os.environ} == {
        name: "/my/driver.json"
    }


def test_installed_gpu_driver_goes_before_the_shipped_one(shipped, monkeypatch, tmp_path):
    gpu, drivers = tmp_path / "version", tmp_path / "icd.d"
    gpu.write_text("NVRM")
    drivers.mkdir()
    monkeypatch.setattr(vulkan, "NVIDIA_KERNEL_DRIVER", gpu)
    monkeypatch.setattr(vulkan, "DRIVER_LISTS", (drivers,))

    (drivers / "nvidia_icd.json").write_text("{}")
    vulkan.use_shipped_driver()
    assert "VK_ICD_FILENAMES" not in os.environ

    (
        drivers / "nvidia_icd.json"
    ).unlink()  # a container that sees the GPU but has no Vulkan for it
    vulkan.use_shipped_driver()
    assert os.environ["VK_ICD_FILENAMES"] == str(shipped)


def test_nothing_is_set_when_there_is_nothing_to_ship(shipped):
    shipped.unlink()
    vulkan.use_shipped_driver()
    assert "VK_ICD_FILENAMES" not in os.environ
