# SPDX-License-Identifier: MIT
"""A ROS domain that is used by simulated robots alone."""

from __future__ import annotations

import os
import secrets
import socket

DOMAINS = range(1, 102)
"""ROS domains that are free to use on every system."""


def isolate_domain(domain: int | None = None) -> None:
    """Keep this process and its children off every ROS network, so that no real robot hears them.

    The caller's own ROS_DOMAIN_ID may be that of a real robot: it is not used.

    Args:
        domain: The domain to use; None draws one that no process on this machine uses.
    """
    if domain is None:
        own = os.environ.get("ROS_DOMAIN_ID")
        others = [one for one in DOMAINS if str(one) != own]
        domain = secrets.choice([one for one in others if not _in_use(one)] or others)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def _in_use(domain: int) -> bool:
    """Whether the port is taken of a domain's first participant (RTPS 2.5, section 9.6.2.3)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 7410 + 250 * domain))
        except OSError:
            return True
    return False
