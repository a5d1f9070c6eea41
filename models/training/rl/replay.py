# SPDX-License-Identifier: MIT
"""Replay of whole episodes with priorities (Schaul et al. 2016), as in TD-MPC.

A ring of rows, one per observation. An episode of T actions takes T + 1 rows, the last of which
has no action. What a row's window holds, its episode decides and not its place: a window that
reaches the end of an episode is cut by a mask, and the ring may begin anew in the middle of one.
So no episode length has to divide the capacity (the reference's state runs end there with an
error), and the oldest rows make room first.

Of a stack of pictures only the newest is kept; the others are those of the rows before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode of T actions.

    Attributes:
        observations: Shape (T + 1, ...).
        actions: Shape (T, A).
        rewards: Shape (T,).
        terminated: Whether the last observation is one after which no reward can follow.
    """

    observations: NDArray[Any]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool


@dataclass(frozen=True)
class Batch:
    """Windows of H steps of B episodes, time first.

    Attributes:
        observations: Shape (H + 1, B, ...).
        actions: Shape (H, B, A).
        rewards: Shape (H, B).
        goes_on: 0 where a step ended in a terminal state, shape (H, B).
        valid: 0 past the end of an episode, shape (H, B).
        weights: Importance of each window, at most 1, shape (B,).
        rows: Where the windows begin, shape (B,).
    """

    observations: NDArray[Any]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    goes_on: NDArray[np.float32]
    valid: NDArray[np.float32]
    weights: NDArray[np.float32]
    rows: Rows


class Replay:
    """The ring.

    Attributes:
        written: Rows ever written.
        capacity: Rows kept.
    """

    def __init__(
        self,
        capacity: int,
        observation: tuple[int, ...],
        action: int,
        alpha: float = 0.6,
        beta: float = 0.4,
    ) -> None:
        """An empty ring.

        Args:
            capacity: Rows kept.
            observation: Shape of an observation; three numbers mean a stack of pictures.
            action: Length of an action.
            alpha: Power of the priorities that windows are drawn with.
            beta: Power of the correction for it.
        """
        self.capacity, self.written = capacity, 0
        self._alpha, self._beta = alpha, beta
        self._stack = observation[0] // 3 if len(observation) == 3 else 1
        one = (3, *observation[1:]) if len(observation) == 3 else observation
        kind = np.uint8 if len(observation) == 3 else np.float32
        self.columns: dict[str, NDArray[Any]] = {
            "observation": np.zeros((capacity, *one), kind),
            "action": np.zeros((capacity, action), np.float32),
            "reward": np.zeros(capacity, np.float32),
            "age": np.zeros(capacity, np.int32),
            "left": np.zeros(capacity, np.int32),
            "terminated": np.zeros(capacity, bool),
        }
        self.priority = np.zeros(capacity, np.float32)

    def __len__(self) -> int:
        """Rows that a window can begin at."""
        return int(np.count_nonzero(self.priority))

    def add(self, episode: EpisodeRecord) -> None:
        """The episode can be drawn, with the highest priority there is."""
        count = len(episode.actions)
        if count + 1 > self.capacity:
            raise ValueError(f"an episode of {count} steps does not fit {self.capacity} rows")
        observations = episode.observations
        self._write(
            {
                "observation": observations[:, -3:] if self._stack > 1 else observations,
                "action": _padded(episode.actions),
                "reward": _padded(episode.rewards),
                "age": np.arange(count + 1, dtype=np.int32),
                "left": np.arange(count, -1, -1, dtype=np.int32),
                "terminated": np.arange(count + 1) == (count if episode.terminated else -1),
            }
        )

    def sample(self, size: int, horizon: int, rng: np.random.Generator) -> Batch:
        """Windows drawn by priority, with replacement."""
        shares = np.cumsum(self.priority.astype(np.float64) ** self._alpha * (self.priority > 0))
        if not shares[-1] > 0:
            raise ValueError("the replay is empty: add an episode first")
        rows = np.searchsorted(shares, rng.random(size) * shares[-1], side="right")
        chance = self.priority[rows].astype(np.float64) ** self._alpha / shares[-1]
        weights = (len(self) * chance) ** -self._beta
        steps = np.minimum(np.arange(horizon + 1)[:, None], self.columns["left"][rows])
        where = (rows + steps) % self.capacity
        valid = np.arange(horizon)[:, None] < self.columns["left"][rows]
        return Batch(
            self._observed(where),
            self.columns["action"][where[:-1]],
            self.columns["reward"][where[:-1]],
            1.0 - self.columns["terminated"][where[1:]].astype(np.float32),
            valid.astype(np.float32),
            (weights / weights.max()).astype(np.float32),
            rows.astype(np.int64),
        )

    def update(self, rows: Rows, priorities: NDArray[np.float32]) -> None:
        """New priorities of rows that windows began at."""
        self.priority[rows] = np.maximum(priorities, 1e-6)

    def save(self, folder: Path, since: int) -> None:
        """The rows written from number `since` on lie in a file of their own in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        oldest = max(since, self.written - self.capacity)
        if self.written > oldest:
            where = np.arange(oldest, self.written) % self.capacity
            temporary = folder / f".{self.written:012d}.tmp.npz"
            np.savez(temporary, first=oldest, **{k: v[where] for k, v in self.columns.items()})
            temporary.replace(folder / f"{self.written:012d}.npz")

    def tidy(self, folder: Path) -> None:
        """Files with nothing in them but overwritten rows are gone: once no state wants them."""
        for file in folder.glob("[0-9]*.npz"):
            if int(file.stem) <= self.written - self.capacity:
                file.unlink()

    def load(self, folder: Path, written: int, priority: NDArray[np.float32]) -> None:
        """The ring is as it was when `written` rows had been written.

        Raises:
            FileNotFoundError: Rows are missing; the message says which.
        """
        oldest = max(0, written - self.capacity)
        for file in sorted(folder.glob("[0-9]*.npz")):
            if int(file.stem) > written:
                continue  # written after the state that goes on
            with np.load(file) as part:
                first = int(part["first"])
                if first > max(self.written, oldest):
                    break
                self.written = first
                self._write({k: part[k] for k in self.columns})
        if self.written != written:
            raise FileNotFoundError(
                f"{folder}: rows up to {written} are wanted, {self.written} are there"
            )
        self.priority[: len(priority)] = priority

    def _write(self, rows: dict[str, NDArray[Any]]) -> None:
        count = len(rows["left"])
        where = np.arange(self.written, self.written + count) % self.capacity
        highest = self.priority.max() if self.priority.any() else 1.0
        # Rows right after the new ones have lost pictures of their stack.
        lost = np.arange(self.written + count, self.written + count + self._stack - 1)
        self.priority[lost % self.capacity] = 0.0
        for name, column in self.columns.items():
            column[where] = rows[name]
        self.priority[where] = np.where(rows["left"] > 0, highest, 0.0)
        self.written += count

    def _observed(self, where: Rows) -> NDArray[Any]:
        observations = self.columns["observation"]
        if self._stack == 1:
            return observations[where]
        back = np.arange(self._stack - 1, -1, -1)[:, None, None]
        back = np.minimum(back, self.columns["age"][where])
        stacked = observations[(where - back) % self.capacity]
        return np.concatenate(list(stacked), axis=2)


def _padded(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([rows, np.zeros_like(rows[:1])])
