# SPDX-License-Identifier: MIT
"""Push-T by hand-made pushes: the one that brings the T nearest to its goal, again and again.

A push is foreseen as quasi-static with a sticking contact and an ellipsoidal limit surface (Lynch,
Maekawa and Tanie, "Manipulation and active sensing by pushing using tactile feedback", IROS 1992):
a contact at (x, y) from the centre of friction that moves by (u, v) moves the body by

    ((c^2 + x^2) u + x y v, x y u + (c^2 + y^2) v) / (c^2 + x^2 + y^2)

and turns it by (x v_y - y v_x) / c^2 of that motion. The next push
corrects what the model predicts wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from difftori_models.contract.specs import FloatArray

FRICTION_M = 0.06
"""Torque over force at which the T slides, c [m]."""
STICK_M = 0.009
"""Radius of the stick, and a little [m]."""
CLEAR_M = 0.02
"""Gap between stick and T before a push [m]."""
HIGH, LOW = 0.075, 0.018
"""Heights of the stick's end on its way and while it pushes [m]."""
REACH = 0.1
"""Displacement that is 1 in network units [m]."""
COM_Y = 0.0375
OUTLINE = np.array(
    [
        *([-0.1, -0.025], [0.1, -0.025], [0.1, 0.025], [0.025, 0.025]),
        *([0.025, 0.175], [-0.025, 0.175], [-0.025, 0.025], [-0.1, 0.025]),
    ]
) - np.array([0.0, COM_Y])
"""Corners of the T, counter-clockwise around its centre of mass (8, 2) [m]."""
LENGTHS = (0.003, 0.006, 0.012, 0.025, 0.045, 0.075)
"""Lengths of pushes that are thought of [m]."""
SIDEWAYS = (-0.3, 0.0, 0.3)
"""Directions of pushes beside the normal [rad]."""


def push_t(sim: Any) -> Callable[[], FloatArray]:
    """The expert of one episode: every call is the next network action, (3,)."""
    goal = np.array([*sim.goal_offset.tolist(), sim.goal_z_rot])
    legs: list[FloatArray] = []
    points, ways = _candidates()
    last = [np.full(3, np.inf)]

    def act() -> FloatArray:
        tip = sim.agent.tcp.pose.p[0].cpu().numpy().astype(np.float64)
        moved = float(np.abs(tip - last.pop()).max())
        last.append(tip)
        near = 0.02 if len(legs) == 4 else 0.005
        while legs and (float(np.abs(legs[0] - tip).max()) < near or moved < 0.001):
            legs.pop(0)  # it is there, or as near as friction lets it come
            moved = 1.0
        if not legs:
            legs.extend(_push(_pose(sim.tee), goal, tip, points, ways))
        step = (legs[0] - tip) / REACH
        top = 0.25 if len(legs) == 1 else 1.0
        return step * min(1.0, top / max(float(np.abs(step).max()), 1e-9))

    return act


def _pose(actor: Any) -> FloatArray:
    """Place and yaw (3,) of a thing on the table."""
    p, q = actor.pose.p[0].cpu().numpy(), actor.pose.q[0].cpu().numpy()
    return np.array([p[0], p[1], 2.0 * np.arctan2(q[3], q[0])], dtype=np.float64)


def _candidates() -> tuple[FloatArray, FloatArray]:
    """Contact points and directions in the frame of the T, each (K, 2).

    Where another part of the T stands in the stick's way down, there is no push.
    """
    points, ways = [], []
    for a, b in zip(OUTLINE, np.roll(OUTLINE, -1, axis=0), strict=True):
        along = (b - a) / np.linalg.norm(b - a)
        inward = np.array([-along[1], along[0]])
        for share in np.arange(0.08, 0.95, 0.12):
            for angle in SIDEWAYS:
                points.append(a + share * (b - a))
                ways.append(_turned(inward[None], np.array([angle]))[0])
    contacts, directions = np.array(points), np.array(ways)
    starts = contacts - (STICK_M + CLEAR_M) * directions
    free = np.ones(len(starts), dtype=bool)
    for low, high in ((OUTLINE[0], OUTLINE[2]), (OUTLINE[6], OUTLINE[4])):
        free &= ((starts < low - STICK_M) | (starts > high + STICK_M)).any(axis=1)
    return contacts[free], directions[free]


def _turned(vectors: FloatArray, angles: FloatArray) -> FloatArray:
    c, s = np.cos(angles), np.sin(angles)
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)


def _corners(poses: FloatArray) -> FloatArray:
    """Corners of T's (K, 3) on the table, (K, 8, 2)."""
    c, s = np.cos(poses[:, 2])[:, None], np.sin(poses[:, 2])[:, None]
    x, y = OUTLINE[None, :, 0], OUTLINE[None, :, 1]
    return np.stack([c * x - s * y + poses[:, :1], s * x + c * y + poses[:, 1:2]], axis=-1)


def _foreseen(points: FloatArray, ways: FloatArray, length: float) -> FloatArray:
    """Motion (K, 3) of the T in its own frame, of pushes along `ways` by `length`."""
    moved, steps = np.zeros((len(points), 3)), int(np.ceil(length / 0.005))
    small = length / steps
    for _ in range(steps):
        # the contact as it now lies from the centre, in axes of the beginning
        xy = _turned(points, moved[:, 2])
        x, y = xy[:, 0], xy[:, 1]
        u, v = small * ways[:, 0], small * ways[:, 1]
        c2 = FRICTION_M**2
        whole = c2 + x * x + y * y
        dx = ((c2 + x * x) * u + x * y * v) / whole
        dy = (x * y * u + (c2 + y * y) * v) / whole
        moved = moved + np.stack([dx, dy, (x * dy - y * dx) / c2], axis=-1)
    return moved


def _push(
    tee: FloatArray, goal: FloatArray, tip: FloatArray, points: FloatArray, ways: FloatArray
) -> list[FloatArray]:
    """The places (3,) that the stick goes through for the best push of all."""
    yaw = np.full(len(points), tee[2])
    wanted = _corners(goal[None])
    least, best = np.inf, None
    for length in LENGTHS:
        moved = _foreseen(points, ways, length)
        after = np.column_stack([tee[:2] + _turned(moved[:, :2], yaw), tee[2] + moved[:, 2]])
        error = np.linalg.norm(_corners(after) - wanted, axis=-1).mean(axis=-1)
        k = int(error.argmin())
        if error[k] < least - 1e-4:
            least, best = float(error[k]), (k, length)
    k, length = best if best is not None else (0, LENGTHS[0])
    way = _turned(ways[k : k + 1], yaw[:1])[0]
    contact = tee[:2] + _turned(points[k : k + 1], yaw[:1])[0]
    start = contact - (STICK_M + CLEAR_M) * way
    end = contact + (length - STICK_M) * way
    return [
        np.array([tip[0], tip[1], HIGH]),
        np.append(start, HIGH),
        np.append(start, LOW),
        np.append(end, LOW),
    ]
