# SPDX-License-Identifier: MIT
"""A Vulkan driver that SAPIEN can render with: the machine's own, or the environment's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from difftori_ros.errors import DifftoriError

VARIABLES = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES")
"""Where the Vulkan loader is told which drivers to use; a user's own choice always stands."""

NVIDIA_KERNEL_DRIVER = Path("/proc/driver/nvidia/version")
DRIVER_LISTS = (Path("/usr/share/vulkan/icd.d"), Path("/etc/vulkan/icd.d"))


class VulkanError(DifftoriError, RuntimeError):
    """There is no Vulkan driver that SAPIEN can render with."""


def shipped_driver() -> Path:
    """Where `./scripts/setup` puts a software driver, when the machine has no usable one."""
    return Path(sys.prefix) / "vulkan" / "lvp_icd.json"


def use_shipped_driver() -> None:
    """The Vulkan loader uses the shipped driver, unless a user's choice or a GPU's is there.

    Call it before SAPIEN makes its first renderer; child processes inherit the choice.
    """
    if any(os.environ.get(name) for name in VARIABLES) or _gpu_can_render():
        return
    if shipped_driver().is_file():
        os.environ["VK_ICD_FILENAMES"] = str(shipped_driver())


def require_vulkan() -> str:
    """SAPIEN can render; returns on what: `cuda` or `cpu`.

    Call it before importing ManiSkill's tasks.

    Raises:
        VulkanError: It cannot; one sentence says what is missing and what installs it.
    """
    use_shipped_driver()
    import sapien  # loads the Vulkan library: only after the driver has been chosen

    sapien.render.set_log_level("off")  # a device that is not there is an answer, not an error
    try:
        for device in ("cuda", "cpu"):
            try:
                sapien.render.RenderSystem(sapien.Device(device))
            except RuntimeError:
                continue
            return device
    finally:
        sapien.render.set_log_level("warn")
    raise VulkanError(_sentence())


def _gpu_can_render() -> bool:
    """True when NVIDIA's kernel driver runs and its Vulkan part is installed as well."""
    return NVIDIA_KERNEL_DRIVER.is_file() and any(
        any(folder.glob("*nvidia*.json")) for folder in DRIVER_LISTS
    )


def _sentence() -> str:
    for name in VARIABLES:
        if os.environ.get(name):
            return (
                f"{name}={os.environ[name]} names no Vulkan driver that SAPIEN can render with: "
                "unset it, or run ./scripts/setup, which installs one"
            )
    return (
        "no Vulkan driver that SAPIEN can render with was found on this machine: "
        "run ./scripts/setup, which installs one"
    )
