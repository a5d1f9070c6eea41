# SPDX-License-Identifier: MIT
"""A point on a plane that is to stand on a goal: small enough to learn by reward in a test."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

STEPS = 20


class PointWorld:
    """Moves by a tenth of the action; the reward is at most 1. Pictures show where it stands."""

    action_repeat = 1

    def __init__(self, pictures: bool = False, fall: bool = False) -> None:
        self.pictures, self.fall = pictures, fall
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = (
            Box(0, 255, (9, 84, 84), np.uint8)
            if pictures
            else Box(-np.inf, np.inf, (4,), np.float32)
        )

    def reset(self, *, seed=None):
        rng = np.random.default_rng(seed)
        self.place, self.goal = rng.uniform(-1, 1, 2), rng.uniform(-0.5, 0.5, 2)
        self.time = 0
        self.frames = [self._picture()] * 3
        return self._seen(), {"success": False}

    def step(self, action):
        assert np.abs(action).max() <= 1.0, "an action outside the box"
        self.place = np.clip(self.place + 0.1 * action, -1.5, 1.5)
        self.time += 1
        self.frames = [*self.frames[1:], self._picture()]
        away = float(np.linalg.norm(self.place - self.goal))
        fallen = self.fall and bool(np.abs(self.place).max() >= 1.4)
        told = {"success": away < 0.1}
        return self._seen(), 1.0 - np.tanh(2 * away), fallen, self.time >= STEPS, told

    def _seen(self):
        if self.pictures:
            return np.concatenate(self.frames)
        return np.concatenate([self.place, self.goal - self.place]).astype(np.float32)

    def _picture(self):
        picture = np.zeros((3, 84, 84), np.uint8)
        for channel, at in enumerate((self.place, self.goal)):
            x, y = (42 + 26 * at).astype(int).clip(2, 81)
            picture[channel, y - 2 : y + 3, x - 2 : x + 3] = 255
        return picture
