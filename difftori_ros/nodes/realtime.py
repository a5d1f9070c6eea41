# SPDX-License-Identifier: MIT
"""Priority, cores and memory of this process, as far as the system permits; never fatal."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

LIMITS = "/etc/security/limits.conf"
MCL_CURRENT, MCL_FUTURE = 1, 2
CAP_IPC_LOCK = 14
"""Number of the capability that lifts the limit on locked memory."""


def apply_realtime(priority: int, cpus: Sequence[int], lock: bool) -> list[str]:
    """Ask for what is wanted, for all threads of this process; a sentence for all that is refused.

    Threads started later inherit priority and cores from the thread that starts them.

    Args:
        priority: SCHED_FIFO priority, 1 to 99; 0 leaves the scheduling as it is.
        cpus: Cores to run on; empty, or a negative number in it, for all.
        lock: Keep all memory in RAM, also what is allocated later.
    """
    complaints: list[str] = []
    if cpus and min(cpus) >= 0:
        complaints += _affinity(set(cpus))
    if priority > 0:
        complaints += _priority(priority)
    if lock:
        complaints += _lock()
    return complaints


def _priority(priority: int) -> list[str]:
    def fifo(thread: int) -> None:
        os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(priority))

    error = _for_every_thread(fifo)
    if error is None:
        return []
    allowed = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    return [
        f"realtime_priority {priority} was refused ({error.strerror}): '{_user()}' may use up to "
        f"{allowed}; add '{_user()} - rtprio {priority}' to {LIMITS} and log in again"
    ]


def _affinity(cpus: set[int]) -> list[str]:
    error = _for_every_thread(lambda thread: os.sched_setaffinity(thread, cpus))
    if error is None:
        return []
    have = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    return [
        f"cpu_affinity {sorted(cpus)} was refused ({error.strerror}): this process may use the "
        f"cores {have}; name some of these, or widen its cgroup or container"
    ]


def _lock() -> list[str]:
    # Under a limit the call itself may succeed, and the next large allocation then fails.
    allowed = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    why = "the limit"
    if allowed == resource.RLIM_INFINITY or _may_lock():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(MCL_CURRENT | MCL_FUTURE) == 0:
            return []
        why = os.strerror(ctypes.get_errno())
    size = "unlimited" if allowed == resource.RLIM_INFINITY else f"{allowed // 1024} kB"
    return [
        f"lock_memory was refused ({why}): '{_user()}' may lock {size}; add "
        f"'{_user()} - memlock unlimited' to {LIMITS} and log in again"
    ]


def _may_lock() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_IPC_LOCK & 1)
    return False


def _for_every_thread(change: Callable[[int], None]) -> OSError | None:
    """Apply to every thread of this process; the first refusal, or None."""
    for task in Path("/proc/self/task").iterdir():
        try:
            change(int(task.name))
        except ProcessLookupError:
            continue  # it has ended meanwhile
        except OSError as error:
            return error
    return None


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
