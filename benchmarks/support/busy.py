# SPDX-License-Identifier: MIT
"""Busy loops beside what is measured, and how much of the machine a process uses.

"Load N" means N processes that do nothing but count, at the priority of everybody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOP = "import ctypes; ctypes.CDLL(None).prctl(1, 9)\nwhile True: pass"
"""The kernel kills it (SIGKILL, 9) when its parent has ended, however that came about
(PR_SET_PDEATHSIG, 1)."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """As many busy loops run inside, and none after it."""
    processes = []
    try:
        for _ in range(loops):
            processes.append(subprocess.Popen([sys.executable, "-c", LOOP]))
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def cpu_s(pid: int) -> float:
    """Time that all threads of a process have computed so far, also in the kernel [s]."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) * TICK_S
