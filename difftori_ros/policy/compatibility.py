# SPDX-License-Identifier: MIT
"""Does a checkpoint fit the arm that it is to move?"""

from __future__ import annotations

from difftori_models.contract.specs import Card
from difftori_ros.robot.profile import ProfileError, RobotProfile


def check_card(card: Card, profile: RobotProfile) -> None:
    """Pass silently when the checkpoint fits the robot.

    Raises:
        ProfileError: It does not; the message is a two-column table of what differs.
    """
    if card.action.kind == "env":
        raise ProfileError(
            f"checkpoint '{card.name}' was trained for '{card.task}' of a suite: its actions mean "
            f"something to that environment alone, and no robot of ours, such as "
            f"'{profile.name}', takes them. It is run by `difftori evaluate --suite`."
        )
    want: dict[str, str] = {
        "robot": card.robot,
        "base frame": card.observation.frame,
        "joints": " ".join(card.observation.joint_names),
    }
    have: dict[str, str] = {
        "robot": profile.name,
        "base frame": profile.base_frame,
        "joints": " ".join(profile.joint_names),
    }
    if card.action.kind in ("joint_delta", "joint_position"):
        want["action joints"] = " ".join(name for name in card.action.names if name != "gripper")
        have["action joints"] = " ".join(profile.arm_joints)
    want["gripper"] = "yes" if "gripper" in card.action.names else "no"
    have["gripper"] = (
        want["gripper"]
        if profile.gripper and want["gripper"] == "no"
        else ("yes" if profile.gripper else "no")
    )
    rows = [(key, want[key], have[key]) for key in want if want[key] != have[key]]
    if not rows:
        return
    width = max(len("checkpoint"), *(len(row[1]) for row in rows))
    lines = [f"  {'':<14}{'checkpoint':<{width}}  robot profile"]
    lines += [f"  {key:<14}{wanted:<{width}}  {got}" for key, wanted, got in rows]
    raise ProfileError(
        f"checkpoint '{card.name}' was trained for another robot than '{profile.name}':\n"
        + "\n".join(lines)
    )
