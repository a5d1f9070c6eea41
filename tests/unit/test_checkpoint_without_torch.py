# SPDX-License-Identifier: MIT
"""Cards and tensors are read where PyTorch is not loaded."""

import subprocess
import sys

from difftori_ros.config.paths import find_checkpoint


def test_cards_and_tensors_are_read_without_torch() -> None:
    folder = str(find_checkpoint("pick_cube_state"))
    program = f"""
import sys
from difftori_models.checkpoint import load_card, load_tensors
assert load_tensors({folder!r}, load_card({folder!r}))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
