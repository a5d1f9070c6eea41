# SPDX-License-Identifier: MIT
"""The loop and the thread that runs it: start, stop, reset, and a planner that hangs."""

from __future__ import annotations

from difftori_ros.types import Reason

from .loop import PolicyLoop
from .mailbox import Mailbox
from .planner_thread import PlannerSupervisor


class PolicyRunner:
    """Called by the thread of the callbacks; it never waits for a plan."""

    def __init__(self, loop: PolicyLoop, mailbox: Mailbox):
        """Nothing runs yet.

        Args:
            loop: What runs.
            mailbox: The loop's.
        """
        self._loop, self._mailbox = loop, mailbox
        self._supervisor = PlannerSupervisor(loop, mailbox.news)

    def start(self) -> None:
        """Begin an episode and plan."""
        self._loop.begin()
        # a planner that a thread still hangs in cannot be used by another
        self._supervisor.start(renew=self._supervisor.hanging > 0)

    def stop(self) -> None:
        """Nothing is published when this has returned, even when the planner hangs."""
        self._supervisor.stop()
        self._loop.stopped()

    def reset(self) -> str:
        """A new episode; what was latched is forgotten. Returns what that means."""
        fault = self._loop.latch.fault
        self._loop.begin_episode()
        if fault is None or not fault.needs_new_planner:
            self._mailbox.wake()
            return "the next plan starts from the measured joints"
        self._loop.report(Reason.WAITING, "the planner is being made anew")
        self._supervisor.start(renew=True)
        return f"{fault.reason.name} is forgotten; the planner is being made anew"

    def watch(self) -> None:
        """Give up a planner that hangs; to be called often."""
        given_up = self._supervisor.watch()
        if given_up is not None:
            self._loop.planner_given_up(given_up, for_good=self._supervisor.exhausted)
            self._supervisor.replace()
