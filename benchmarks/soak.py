# SPDX-License-Identifier: MIT
"""The robot side for a chosen time with a random fault every ten seconds: does anything give?

    python benchmarks/soak.py --minutes 15 --json out/soak.json
    python benchmarks/soak.py --minutes 30 --load 4 --json out/soak_load_4.json

Real policy and guard processes in front of a kinematic fake arm. The faults are drawn as
cards from a deck, every kind before any comes again, from those of
`difftori_sim.ros.fault_injection`: streams fall silent, freeze, lag, jump, or carry nonsense; the
planner raises, diverges or hangs; a process is stopped for a while; the emergency stop is pressed.
After each the arm is brought back into motion. Every command that was heard is held against the
promises P1 to P4, judged by when it was published. JSON keys: `violations`, `rss_slope_mb_per_h`
(the steepest of the processes, with `rss` for each: slope and its 95 % interval),
`faults_injected` (and `faults` by kind), `idle` (rounds in which the machine was too busy to bring
the arm into motion in time), `plans`, `refused_share` (of the plans that the guard has judged,
those that it refused), `load` (busy loops beside it), `plan_ms_first` and `plan_ms_last` (medians
of the first and the last fifth), `machine`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from scipy import stats
from std_msgs.msg import Bool
from tqdm import tqdm

from difftori_ros.bringup.processes import interrupt_on_termination

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.support.busy import busy
from tests.support.harness import Harness, NotInTimeError

mpl.use("agg")
import matplotlib.pyplot as plt

EVERY_S = 10.0
WARM_DECKS = 2
"""Memory counts after every kind of fault has happened this often: each fills its own buffers."""
LINE_FAULTS = (
    "joint_states:silence",
    "joint_states:nan",
    "joint_states:permute",
    "joint_states:reorder",
    "joint_states:duplicate",
    "object:silence",
    "object:freeze",
    "object:delay",
    "goal:drop",
    "goal:stamp",
    "joint_states:burst",
    "joint_states:missing",
)
PLANNER_FAULTS = ("diverge", "raise", "hang")
KINDS = (*LINE_FAULTS, *PLANNER_FAULTS, "policy_node:stop", "button")
NODES = ("policy_node", "guard_node")


class Soak:
    """A harness, what is done to it, and what is seen."""

    def __init__(self, harness: Harness, seed: int) -> None:
        self.harness, self._dice = harness, random.Random(seed)
        self.faults: Counter[str] = Counter()
        self._deck: list[str] = []
        self.violations: list[str] = []
        self.idle: list[str] = []
        self.memory: dict[str, list[tuple[float, float]]] = {name: [] for name in NODES}
        self.plan_ms: list[float] = []
        self._judged = {"accepted": 0, "refused": 0}
        self._button = harness.node.create_publisher(Bool, "emergency_stop", 1)

    def round(self) -> None:
        """Bring the arm into motion, inject a fault, wait, and check the promises."""
        harness, end_s = self.harness, time.monotonic() + EVERY_S
        harness.rest_within_s = 1.0
        try:
            try:
                self._disturb(end_s)
            except NotInTimeError as error:
                self.idle.append(str(error)[:2000])
                self._recover()
            harness.check()
        except AssertionError as error:
            self.violations.append(f"{error!r:.2000}\n{traceback.format_exc()[-1500:]}")
            self._recover()
        harness.forget()
        self._judged = {key: int(harness.guard(key) or 0) for key in self._judged}
        for name in NODES:
            self.memory[name].append((time.monotonic(), resident_mb(harness.processes[name].pid)))

    @property
    def refused_share(self) -> float:
        """Of the plans that the guard has judged, the share that it refused [1]."""
        return self._judged["refused"] / max(1, sum(self._judged.values()))

    def _disturb(self, end_s: float) -> None:
        """The arm moves, something happens to it, and time passes until then [s, steady clock]."""
        harness = self.harness
        harness.begin(forgets=False)  # all is judged that was ever heard
        harness.run(self._dice.uniform(0.5, 2.0))
        self._inject(self._dice.uniform(0.2, 3.0))
        harness.run(max(0.0, end_s - time.monotonic()))
        told = [values for _, values in harness.received["policy_node"] if "plan_ms" in values]
        self.plan_ms += [float(values["plan_ms"]) for values in told]

    def _recover(self) -> None:
        """Whatever it was broken off in, what was done is over."""
        self.harness.arm.clear_faults()
        self.harness.send_signal("policy_node", "continue")
        self._button.publish(Bool(data=False))

    def _inject(self, seconds: float) -> None:
        if not self._deck:
            self._deck = self._dice.sample(KINDS, len(KINDS))
        kind = self._deck.pop()
        if kind in LINE_FAULTS:
            self.harness.arm.inject(f"{kind}:0.0:{seconds:.3f}")
            self.harness.run(seconds)
        elif kind in PLANNER_FAULTS:
            self.harness.inject(kind)
            self.harness.run(seconds)
            self.harness.inject("")
        elif kind == "policy_node:stop":
            self.harness.send_signal("policy_node", "stop")
            self.harness.run(seconds)
            self.harness.send_signal("policy_node", "continue")
        else:
            self._button.publish(Bool(data=True))
            self.harness.run(seconds)
            self._button.publish(Bool(data=False))
            self.harness.run(0.2)
        self.faults[kind] += 1

    def slopes(self) -> dict[str, dict[str, float]]:
        """Memory over time of each process: slope and 95 % interval [MB/h].

        Memory goes up and down in steps, so that neighbouring samples are not independent: the
        interval is widened by the lag-1 autocorrelation of the residuals (Santer et al. 2000,
        "Statistical significance of trends", section 4).
        """
        found = {}
        for name, series in self.memory.items():
            warm = WARM_DECKS * len(KINDS)
            times, sizes = np.array(series[warm:] if len(series) > warm + 10 else series).T
            if len(times) < 4:
                found[name] = {"mb_per_h": 0.0, "low": -np.inf, "high": np.inf}
                continue
            fit: Any = stats.linregress(times / 3600, sizes)
            left = sizes - fit.intercept - fit.slope * times / 3600
            total = float((left**2).sum())
            alike = float((left[1:] * left[:-1]).sum()) / total if total > 0 else 0.0
            alike = min(max(alike, 0.0), 0.99)
            independent = max(len(times) * (1 - alike) / (1 + alike), 3.0)
            widened = fit.stderr * np.sqrt((len(times) - 2) / (independent - 2))
            reach = float(stats.t.ppf(0.975, independent - 2) * widened)
            slope = float(fit.slope)
            found[name] = {"mb_per_h": slope, "low": slope - reach, "high": slope + reach}
        return found


def resident_mb(pid: int) -> float:
    """Resident memory of a process [MB]."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def plot(soak: Soak, path: Path) -> None:
    """Memory and plan times over the soak."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), layout="constrained")
    for name, series in soak.memory.items():
        times, sizes = np.array(series).T
        top.plot((times - times[0]) / 60, sizes, label=name)
    top.set(xlabel="time [min]", ylabel="resident memory [MB]", ylim=(0, None))
    top.legend()
    bottom.plot(soak.plan_ms, ".", markersize=2)
    bottom.set(xlabel="plan", ylabel="plan time [ms]", yscale="log")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the soak and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--checkpoint", default="pick_cube_state")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=int, default=0, help="busy loops beside it")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--json", type=Path, default=Path("out/soak.json"))
    arguments = parser.parse_args()
    interrupt_on_termination()
    minutes = 1.0 if arguments.quick else arguments.minutes
    with (
        tempfile.TemporaryDirectory(prefix="difftori_soak_") as folder,
        busy(arguments.load),
    ):
        harness = Harness(Path(folder), arguments.checkpoint)
        try:
            harness.up()
            soak = Soak(harness, arguments.seed)
            rounds = max(1, round(minutes * 60 / EVERY_S))
            for _ in tqdm(range(rounds), desc="soak", unit="fault"):
                soak.round()
        finally:
            harness.close()
    fifth = max(1, len(soak.plan_ms) // 5)
    slopes = soak.slopes()
    found = {
        "violations": len(soak.violations),
        "rss_slope_mb_per_h": round(max(one["mb_per_h"] for one in slopes.values()), 2),
        "faults_injected": sum(soak.faults.values()),
        "faults": dict(soak.faults),
        "rss": slopes,
        "plans": len(soak.plan_ms),
        "refused_share": round(soak.refused_share, 4),
        "plan_ms_first": round(float(np.median(soak.plan_ms[:fifth])), 3),
        "plan_ms_last": round(float(np.median(soak.plan_ms[-fifth:])), 3),
        "memory_mb": {name: [round(mb, 3) for _, mb in s] for name, s in soak.memory.items()},
        "what_was_violated": soak.violations,
        "idle": len(soak.idle),
        "why_idle": soak.idle,
        "minutes": minutes,
        "load": arguments.load,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    plot(soak, arguments.json.with_suffix(".png"))
    console = Console()
    for key in ("violations", "faults_injected", "rss_slope_mb_per_h", "plans", "refused_share"):
        console.print(f"| {key} | {found[key]} |", markup=False)
    for name, one in slopes.items():
        console.print(
            f"| {name} | {one['mb_per_h']:.1f} MB/h ({one['low']:.1f} to {one['high']:.1f}) |",
            markup=False,
        )


if __name__ == "__main__":
    main()
