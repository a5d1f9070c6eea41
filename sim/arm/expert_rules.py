# SPDX-License-Identifier: MIT
"""Rules of scripted experts beyond picking and stacking; each sees the present state alone.

A rule maps tip, object and goal (3,) [m], the finger's position [m] and the action's scale [m] to
a network action (4,): x y z and the gripper.
"""

from __future__ import annotations

import numpy as np

from difftori_models.contract.specs import FloatArray

OPEN, CLOSE = 1.0, -1.0
SHUT = 0.0288
"""Finger position below which a cube counts as grasped [m]: half its diagonal, for any yaw."""
LET_GO = 0.035
"""Finger position from which what was held is free [m]."""
BALL = 0.035
"""Radius of the ball that is rolled [m]."""
GRIP = BALL + 0.0008
"""Finger position below which the ball is held [m]."""
PEG_HEAD = 0.12
"""From the middle of the peg to its head [m]."""


def move(
    target: FloatArray, tip: FloatArray, scale: FloatArray, top: float, gripper: float
) -> FloatArray:
    """Action (4,) towards `target`: proportional, at most `top` network units, direction kept."""
    step = (target - tip) / scale
    step = step * min(1.0, top / max(float(np.abs(step).max()), 1e-9))
    return np.append(step, gripper)


def pull(
    tip: FloatArray, cube: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    """Beyond the cube, down, and back towards the base."""
    beyond, height = float(cube[0]) + 0.07, 0.02
    aside = abs(float(tip[1] - cube[1]))
    if tip[0] > cube[0] + 0.015 and aside < 0.015 and tip[2] < height + 0.015:
        return move(np.array([goal[0] + 0.02, cube[1], height]), tip, scale, 0.8, CLOSE)
    if abs(float(tip[0]) - beyond) < 0.02 and aside < 0.015:
        return move(np.array([beyond, cube[1], height]), tip, scale, 0.8, CLOSE)
    return move(np.array([beyond, cube[1], 0.09]), tip, scale, 0.8, CLOSE)


def place_in_bin(
    tip: FloatArray, ball: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    """Over the ball, down, close, over the bin, down, open, up."""
    away = ball - goal
    aside = float(np.linalg.norm(away[:2]))
    if aside < 0.012 and float(away[2]) < 0.034:  # it lies in the bin, or falls into it
        if finger < LET_GO:
            return np.array([0.0, 0.0, 0.0, OPEN])
        return move(goal + np.array([0.0, 0.0, 0.15]), tip, scale, 0.8, OPEN)
    offset = tip - ball
    near = float(np.linalg.norm(offset[:2])) < 0.012 and abs(float(offset[2])) < 0.012
    if near and finger < 0.021:
        over = goal + np.array([0.0, 0.0, 0.03 if aside < 0.004 else 0.08])
        if aside > 0.03 and away[2] < 0.06:  # up before it goes over the rim
            over = np.array([ball[0], ball[1], goal[2] + 0.08])
        return move(over + offset, tip, scale, 0.8 if aside > 0.01 else 0.4, CLOSE)
    if near:
        return move(ball, tip, scale, 0.1, CLOSE)
    if float(np.linalg.norm(offset[:2])) < 0.01:
        return move(ball, tip, scale, 0.6, OPEN)
    return move(ball + np.array([0.0, 0.0, 0.07]), tip, scale, 0.8, OPEN)


def poke(
    tip: FloatArray, peg: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    """Grasp the peg in its middle, point it at the goal, and push what is before it there."""
    offset = tip - peg
    near = float(np.linalg.norm(offset[:2])) < 0.015 and abs(float(offset[2])) < 0.015
    if near and finger < SHUT:
        aside = abs(float(peg[1] - goal[1]))
        ahead = goal[0] - 0.02 - PEG_HEAD if aside < 0.006 else peg[0]
        return move(np.array([ahead, goal[1], peg[2]]) + offset, tip, scale, 0.6, CLOSE)
    if near:
        return move(peg, tip, scale, 0.1, CLOSE)
    if float(np.linalg.norm(offset[:2])) < 0.012:
        return move(peg, tip, scale, 0.8, OPEN)
    return move(peg + np.array([0.0, 0.0, 0.09]), tip, scale, 0.8, OPEN)


def roll(
    tip: FloatArray, ball: FloatArray, goal: FloatArray, finger: float, scale: FloatArray
) -> FloatArray:
    """Grasp the ball, carry it before the goal, take it along and let go in full motion."""
    start_x, let_go_x, height = 0.42, 0.52, BALL + 0.004
    way = (goal - ball)[:2] / float(np.linalg.norm((goal - ball)[:2]))
    apart = float(np.linalg.norm((tip - ball)[:2]))
    along = np.append(tip[:2] + 0.2 * way, height)
    if ball[0] > let_go_x:  # open while it goes on, then out of its way
        if apart < 0.03 and finger < 0.0385:
            return move(along, tip, scale, 1.0, OPEN)
        if tip[2] < 0.15:
            up = np.append(0.8 * way if apart < 0.05 else 0.0 * way, 0.8)
            return np.append(up, OPEN)
        return np.array([0.0, 0.0, 0.0, OPEN])
    beside = np.abs((tip - ball)[:2])
    if beside[0] < 0.02 and beside[1] < 0.012 and tip[2] < BALL + 0.03:
        if finger > GRIP:
            return move(ball, tip, scale, 0.1, CLOSE)
        if abs(float(ball[1] - goal[1])) > 0.015 and ball[0] < start_x + 0.06:
            return move(np.array([start_x, goal[1], height + 0.01]), tip, scale, 0.6, CLOSE)
        return move(along, tip, scale, 1.0, CLOSE)
    over = ball if beside[0] < 0.015 and beside[1] < 0.006 else np.append(ball[:2], 0.12)
    return move(over, tip, scale, 0.8, OPEN)
