# SPDX-License-Identifier: MIT
"""Scripted experts: waypoint rules that depend on the present state alone (Markovian)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from difftori_models.contract.specs import ActionSpec, FloatArray, Observation

from .expert_rules import CLOSE, GRIP, LET_GO, OPEN, SHUT, place_in_bin, poke, pull, roll
from .expert_rules import move as _move

Expert = Callable[[Observation, ActionSpec], FloatArray]
"""An expert maps an observation to a chunk of network actions, shape (H, A)."""

FINGER_STEP = 0.01
"""Distance a finger moves in one action while the chunk is foreseen [m]: 0.2 m/s at 20 Hz."""
HALF_CUBE = 0.02
"""Half the edge of the cube [m]."""
CARRIED = 0.04
"""Height at which a cube is carried above where it is to stand [m]."""


def _foresee(
    rule: Callable[..., FloatArray], observation: Observation, spec: ActionSpec, grip: float
) -> FloatArray:
    """The rule applied H times to what it foresees: the tip arrives, a grasped cube follows.

    What lies between the fingers is grasped when they are nearer to each other than `grip` [m].
    """
    scale = np.array(spec.scale[:3])
    tip = observation.poses["tip"][:3].copy()
    cube = observation.poses["object"][:3].copy()
    goal = observation.poses["goal"][:3]
    finger = float(observation.position[-1])
    actions = []
    for _ in range(spec.horizon):
        action = rule(tip, cube, goal, finger, scale)
        moved = tip + action[:3] * scale
        held = bool(np.linalg.norm(cube - tip) < HALF_CUBE)
        if held and finger < grip:
            cube = cube + moved - tip
        blocked = HALF_CUBE if held else 0.0
        finger = (
            min(0.04, finger + FINGER_STEP)
            if action[3] > 0
            else max(blocked, finger - FINGER_STEP)
        )
        tip = moved
        actions.append(action)
    return np.array(actions)


def _pick(
    tip: FloatArray, cube: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    offset = tip - cube
    aside = float(np.linalg.norm(offset[:2]))
    above = float(offset[2])
    near = aside < 0.015 and abs(above) < 0.015
    if near and finger < SHUT:  # the fingers are shut on the cube
        return _move(goal + offset, tip, scale, 0.8, CLOSE)
    if near:
        return _move(cube, tip, scale, 0.1, CLOSE)
    if aside < 0.015:
        return _move(cube, tip, scale, 0.8, OPEN)
    return _move(cube + np.array([0.0, 0.0, max(0.05, min(above, 0.08))]), tip, scale, 0.8, OPEN)


def _push(
    tip: FloatArray, cube: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    behind = cube + np.array([-0.07, 0.0, 0.0])
    height = 0.02
    aside = abs(float(tip[1] - cube[1]))
    if tip[0] < cube[0] - 0.015 and aside < 0.015 and tip[2] < height + 0.015:
        reach = np.array([goal[0] - 0.02, cube[1], height])
        return _move(reach, tip, scale, 0.8, CLOSE)
    if float(np.linalg.norm((tip - behind)[:2])) < 0.02:
        return _move(np.array([behind[0], behind[1], height]), tip, scale, 0.8, CLOSE)
    return _move(np.array([behind[0], behind[1], 0.09]), tip, scale, 0.8, CLOSE)


def _stack(
    tip: FloatArray, cube: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    place = goal + np.array([0.0, 0.0, 2 * HALF_CUBE])
    away = cube - place
    aside = float(np.linalg.norm(away[:2]))
    if aside < 0.015 and abs(float(away[2])) < 0.006:  # it stands where it should
        if finger < LET_GO:
            return np.array([0.0, 0.0, 0.0, OPEN])
        return _move(cube + np.array([0.0, 0.0, 0.12]), tip, scale, 0.8, OPEN)
    offset = tip - cube
    held = float(np.linalg.norm(offset)) < 0.021 and finger < SHUT
    if not held:
        return _pick(tip, cube, goal, finger, scale)
    if aside < 0.008:
        return _move(place + offset, tip, scale, 0.5, CLOSE)
    low = float(away[2]) < CARRIED - 0.01  # beside the other cube: straight up first
    over = cube[:2] if low and aside > 0.02 else place[:2]
    return _move(np.append(over, place[2] + CARRIED) + offset, tip, scale, 0.8, CLOSE)


EXPERTS = {
    "pick_cube": _pick,
    "place_sphere": place_in_bin,
    "poke_cube": poke,
    "pull_cube": pull,
    "push_cube": _push,
    "roll_ball": roll,
    "stack_cube": _stack,
    "stack_cube_wrist": _stack,
}
"""The rule of every task: over the cube, down, close, carry; behind the cube, down, push; carry it
over the other cube, down, open."""


def expert(task: str) -> Expert:
    """The expert of a task.

    Raises:
        ValueError: There is none; the message names those that exist.
    """
    if task not in EXPERTS:
        raise ValueError(f"no scripted expert for '{task}'; there are: {', '.join(EXPERTS)}")
    rule = EXPERTS[task]
    grip = GRIP if rule is roll else SHUT
    return lambda observation, spec: _foresee(rule, observation, spec, grip)
