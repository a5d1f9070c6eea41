# SPDX-License-Identifier: MIT
"""The table a policy node prints once: what it reads, commands, and with which checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difftori_models.contract.specs import Card
from difftori_ros.robot.profile import RobotProfile

from .open_policy import Source


def summary_table(
    card: Card,
    profile: RobotProfile,
    values: Mapping[str, Any],
    topics: Mapping[str, str],
    source: Source,
) -> str:
    """Plain text, one fact per line."""
    spec = card.action
    rows = [
        ("checkpoint", f"{card.name} ({card.method}) from {source.where}"),
        (source.hashed or "weights", f"sha256 {source.sha256}" if source.sha256 else "none"),
        ("task", card.task),
        ("robot", f"{profile.name}, base {profile.base_frame}, tip {profile.tip_frame}"),
        ("actions", f"{spec.kind}: {' '.join(spec.names)}"),
        (
            "rate",
            f"{1 / spec.dt_s:g} Hz actions, {spec.horizon} per plan, new plan every "
            f"{spec.plan_period_s:g} s",
        ),
        (
            "deadline",
            f"{values['deadline_s']:g} s" if values["deadline_s"] else "none (all iterations)",
        ),
        (
            "planner",
            f"{source.planner.backend} on {values['device']}, {values['threads']} thread(s)",
        ),
        ("dry run", "yes: plans are not sent" if values["dry_run"] else "no"),
    ]
    for stream, topic in topics.items():
        kind = card.observation.kind(stream)
        rows.append((f"in: {stream}", f"{topic}, at most {values[f'{kind}_max_age_s']:g} s old"))
    for k, joint in enumerate(profile.arm_joints):
        rows.append(
            (
                f"joint: {joint}",
                f"{profile.lower[k]:.3f} to {profile.upper[k]:.3f} rad, "
                f"{profile.velocity[k]:.2f} rad/s, {profile.acceleration[k]:.1f} rad/s^2",
            )
        )
    if profile.gripper:
        gripper = profile.gripper
        rows.append(
            (
                f"gripper: {gripper.joint}",
                f"{gripper.closed:g} (closed) to {gripper.open:g} (open)",
            )
        )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)
