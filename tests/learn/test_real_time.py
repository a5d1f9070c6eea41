# SPDX-License-Identifier: MIT
"""Solving leaves other threads of the process alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from difftori_models.data import load_demos
from difftori_models.inference.export import export
from difftori_models.inference.planner import Planner

PERIOD_S = 0.005


@pytest.mark.parametrize("backend", ["eager", "onnx"])
def test_a_200_hz_thread_keeps_its_pace_while_another_plans(
    trained: Path, demos: Path, tmp_path: Path, backend: str
) -> None:
    folder = trained
    if backend == "onnx":
        export(trained, tmp_path, check=False)
        folder = tmp_path
    planner, observation = Planner(folder, backend=backend), load_demos(demos).observation(3)
    planner.warm_up()
    stop, ticks = threading.Event(), []

    def tick() -> None:
        wait = threading.Event()
        following = time.monotonic()
        while not stop.is_set():
            ticks.append(time.monotonic())
            following += PERIOD_S
            wait.wait(max(0.0, following - time.monotonic()))

    thread = threading.Thread(target=tick)
    thread.start()
    began, plans = time.monotonic(), 0
    while len(ticks) < 200:
        planner.plan(observation)
        plans += 1
    elapsed = time.monotonic() - began
    stop.set()
    thread.join()
    # A solver that held the interpreter would let the thread run once per plan, or after the
    # interpreter's switch interval (also 5 ms): its pace would be half at most.
    assert plans > 50
    assert elapsed < 200 * PERIOD_S * 1.6
    assert np.median(np.diff(ticks)) < 1.3 * PERIOD_S
