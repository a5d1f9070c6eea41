# SPDX-License-Identifier: MIT
"""Every test of a fault begins with a moving arm, and ends with the four promises kept."""

import pytest


@pytest.fixture
def moving(stand):
    """The module's stand, its arm in mid-motion."""
    stand.begin()
    yield stand
    stand.check()
