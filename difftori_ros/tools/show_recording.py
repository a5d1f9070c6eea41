# SPDX-License-Identifier: MIT
"""What happened before a fault: a recording of the black box as a table and as a picture."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difftori_ros import codecs
from difftori_ros.recording.mcap_file import RecordingError, load
from difftori_ros.status.guard_report import GuardReport, GuardReportError
from difftori_ros.types import JointState, Trajectory

STEP_S = 0.5
"""Time between two rows of the table when nothing changes [s]."""
MERGE_S = 0.005
"""Rows closer than this become one, the later [s]."""
SILENT_S = 0.5
"""Age after which a status or joint state is not shown any more [s]: its sender is silent."""
NEEDED = ("joint_states", "policy_node/status", "guard_node/status", "command/arm")
"""Roles without which there is nothing to show; each may be silent, but not all."""
COLUMNS = (
    "time\n[s]",
    "policy",
    "guard",
    "guard's code",
    "plan\n[ms]",
    "speed\n[rad/s]",
    "off plan\n[rad]",
    "oldest input\n[s]",
)
SHOWN = 5
"""Messages that cannot be read which are shown one by one."""
LEVELS = ("tab:green", "tab:orange", "tab:red", "tab:gray")
"""Colour of OK, WARN, ERROR and STALE."""
Values = dict[str, str]


@dataclass(frozen=True)
class Sample:
    """What was known at one time; `time_s` counts from the fault. Unknown: empty, None or NaN."""

    time_s: float
    policy: Values
    guard: GuardReport | None
    speed: float
    off_plan: float

    @property
    def oldest(self) -> str:
        """The oldest input of the last plan: its age [s] and its name."""
        ages = {k[4:]: v for k, v in self.policy.items() if k.startswith("age_")}
        name = max(ages, key=lambda name: float(ages[name]), default="")
        return f"{ages[name]} {name}" if name else "-"


@dataclass
class Timeline:
    """A decoded recording; every list holds (time from the fault [s], what came), in order."""

    note: Values
    joints: list[tuple[float, JointState]] = field(default_factory=list)
    commands: list[tuple[float, Trajectory]] = field(default_factory=list)
    policy: list[tuple[float, Values]] = field(default_factory=list)
    guard: list[tuple[float, GuardReport]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last time of anything shown."""
        times = [
            pair[0]
            for part in (self.joints, self.commands, self.policy, self.guard)
            for pair in part
        ]
        return min(times), max(times)

    def commanded(self, time_s: float, state: JointState) -> np.ndarray:
        """Where the command in force at `time_s` wants the joints to be at the state's stamp.

        NaN for joints that it does not name, and for all of them before the first command.
        """
        command = newest(self.commands, time_s)
        wanted = np.full(len(state.names), np.nan)
        if command is not None:
            position, _ = command.sample(state.stamp_ns)
            for k, name in enumerate(state.names):
                if name in command.joint_names:
                    wanted[k] = position[command.joint_names.index(name)]
        return wanted

    def at(self, time_s: float) -> Sample:
        """What was known at `time_s`."""
        state = newest(self.joints, time_s, SILENT_S)
        speed = off_plan = float("nan")
        if state is not None:
            speed = float(np.max(np.abs(state.velocity), initial=0.0))
            gap = np.abs(self.commanded(time_s, state) - state.position)
            off_plan = float(np.nanmax(gap)) if np.isfinite(gap).any() else off_plan
        policy = newest(self.policy, time_s, SILENT_S) or {}
        guard = newest(self.guard, time_s, SILENT_S)
        return Sample(time_s, policy, guard, speed, off_plan)

    def samples(self) -> list[Sample]:
        """One sample every `STEP_S`, and one at every change of a code or state."""
        first, last = self.span_s
        times = {
            round(float(t), 3) for t in np.arange(np.ceil(first / STEP_S), last / STEP_S) * STEP_S
        } | {first, last}
        codes = [(time_s, values.get("code")) for time_s, values in self.policy]
        states = [(time_s, (report.reason, report.state)) for time_s, report in self.guard]
        for part in (codes, states):
            before = None
            for time_s, now in part:
                if now != before:
                    times.add(time_s)
                before = now
        ordered = [*sorted(times), np.inf]
        kept = [t for t, after in pairwise(ordered) if after - t > MERGE_S]
        return [self.at(time_s) for time_s in kept]


def newest(part: Sequence[tuple[float, Any]], time_s: float, within_s: float = np.inf) -> Any:
    """What came last up to `time_s`; None when nothing came, or nothing `within_s` before."""
    k = bisect_right(part, time_s, key=lambda pair: pair[0])
    return part[k - 1][1] if k and time_s - part[k - 1][0] <= within_s else None


def read(path: Path) -> Timeline:
    """Decode a recording.

    Raises:
        RecordingError: It cannot be shown; the sentence says why.
    """
    from difftori_ros.nodes.blackbox_node import decode  # needs ROS 2's message packages

    note, entries = load(path)
    roles = {entry.role for entry in entries}
    if not roles & set(NEEDED):
        raise RecordingError(
            f"{path} holds no messages of {', '.join(NEEDED)}; "
            f"it holds {', '.join(sorted(roles)) or 'none at all'}"
        )
    timeline, zero_ns = Timeline(note), int(note["time_ns"])
    for entry in entries:
        if entry.role not in NEEDED:
            continue
        time_s = (entry.time_ns - zero_ns) * 1e-9
        try:
            message = decode(entry.type_name, entry.data)
            if entry.role == "joint_states":
                timeline.joints.append((time_s, codecs.decode_joint_state(message)))
            elif entry.role == "command/arm":
                timeline.commands.append((time_s, codecs.decode_trajectory(message)))
            elif entry.role == "guard_node/status":
                timeline.guard.append((time_s, GuardReport.from_status(message)))
            else:
                values = {pair.key: pair.value for pair in message.values}
                values["level"] = str(message.level[0])
                timeline.policy.append((time_s, values))
        except (codecs.CodecError, GuardReportError, RecordingError) as error:
            # a message that cannot be read may well be what the fault is about
            timeline.unreadable.append(f"{entry.role} at {time_s:+.3f} s: {error}")
    if not (timeline.joints or timeline.commands or timeline.policy or timeline.guard):
        raise RecordingError(f"{path} holds nothing readable: {timeline.unreadable[0]}")
    return timeline


def replay(path: Path, console: Console, png: Path | None = None) -> None:
    """Show a recording.

    Args:
        path: The file.
        console: Where to show it.
        png: Where to write a picture; None for nowhere.

    Raises:
        RecordingError: It cannot be shown.
        OSError: It cannot be read, or the picture cannot be written.
    """
    timeline = read(path)
    moment = datetime.fromtimestamp(int(timeline.note["time_ns"]) * 1e-9, tz=timezone.utc)
    about = f"{timeline.note['robot']}, {timeline.note['checkpoint']}"
    console.print(escape(f"{moment:%Y-%m-%d %H:%M:%S} UTC, {about}"), soft_wrap=True)
    console.print(_table(timeline))
    for line in timeline.unreadable[:SHOWN]:
        console.print(escape(f"unreadable: {line}"), soft_wrap=True)
    if len(timeline.unreadable) > SHOWN:
        console.print(f"and {len(timeline.unreadable) - SHOWN} more unreadable messages")
    said = f"{timeline.note['source']}: {timeline.note['code']}: {timeline.note['sentence']}"
    console.print(f"[bold]{escape(said)}[/bold]", soft_wrap=True)
    if png is not None:
        _draw(timeline, said, png)
        console.print(escape(f"wrote {png}"), soft_wrap=True)


def _table(timeline: Timeline) -> Table:
    table = Table()
    for title in COLUMNS:
        table.add_column(
            escape(title), justify="right" if title.endswith("]") else "left", overflow="fold"
        )
    for sample in timeline.samples():
        table.add_row(
            f"{sample.time_s:+.2f}",
            escape(sample.policy.get("code", "-")),
            sample.guard.state.name if sample.guard else "-",
            sample.guard.reason.name if sample.guard else "-",
            escape(sample.policy.get("plan_ms", "-")),
            _number(sample.speed),
            _number(sample.off_plan),
            escape(sample.oldest),
            style="" if sample.time_s < 0 else "red",
        )
    return table


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _draw(timeline: Timeline, title: str, png: Path) -> None:
    """Joints measured (solid) and commanded (dashed) over time, and the statuses as bands."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RecordingError(f"a picture needs matplotlib: {error}") from error

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    curves, bands = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    names = sorted({name for _, state in timeline.joints for name in state.names})
    wanted = [timeline.commanded(time_s, state) for time_s, state in timeline.joints]
    for k, name in enumerate(names):
        rows = [
            (time_s, state.position[i], command[i])
            for (time_s, state), command in zip(timeline.joints, wanted, strict=True)
            for i, other in enumerate(state.names)
            if other == name
        ]
        times, measured, commanded = np.array(rows).T
        curves.plot(times, measured, color=f"C{k % 10}", linewidth=1.0, label=name)
        curves.plot(times, commanded, color=f"C{k % 10}", linewidth=1.5, linestyle="--")
    end_s = timeline.span_s[1]
    guard = [(time_s, int(report.level)) for time_s, report in timeline.guard]
    policy = [(time_s, int(values["level"])) for time_s, values in timeline.policy]
    for row, part in enumerate((guard, policy)):
        ends = [time_s for time_s, _ in part] + [end_s]
        for (time_s, level), until_s in zip(part, ends[1:], strict=True):
            colour = LEVELS[min(level, len(LEVELS) - 1)]
            length_s = min(until_s - time_s, SILENT_S)  # a gap: it was silent
            bands.broken_barh([(time_s, length_s)], (row - 0.4, 0.8), color=colour)
    for axes in (curves, bands):
        axes.axvline(0.0, color="black", linewidth=0.8)
    curves.set_title(title, fontsize=9, wrap=True)
    curves.set_ylabel("measured, commanded (dashed)\n[rad or m]")
    if names:
        curves.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    bands.set_yticks([0, 1], ["guard", "policy"])
    bands.set_xlabel("time from the fault [s]; green OK, orange WARN, red ERROR")
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=120, format="png")
