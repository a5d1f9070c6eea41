# SPDX-License-Identifier: MIT
"""The replay of reinforcement learning: what a window holds, whatever the ring does."""

from __future__ import annotations

import numpy as np
import pytest

from difftori_models.training.rl.replay import EpisodeRecord, Replay


def episode(first: int, steps: int, terminated: bool = False) -> EpisodeRecord:
    """Observation k of it is first + k, and so are action and reward k."""
    numbers = first + np.arange(steps + 1, dtype=np.float32)
    return EpisodeRecord(
        np.stack([numbers, numbers], 1), numbers[:-1, None], numbers[:-1], terminated
    )


def draw(replay: Replay, horizon: int = 3, size: int = 500):
    return replay.sample(size, horizon, np.random.default_rng(0))


def assert_windows_are_of_one_episode(batch) -> None:
    first, valid = batch.observations[0, :, 0], batch.valid > 0
    for t in range(len(batch.actions)):
        inside = valid[t]
        assert (batch.actions[t, inside, 0] == first[inside] + t).all()
        assert (batch.rewards[t, inside] == first[inside] + t).all()
        assert (batch.observations[t + 1, inside, 0] == first[inside] + t + 1).all()


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_an_episode_length_that_does_not_divide_the_capacity_overruns_nothing(steps):
    replay = Replay(23, (2,), 1)
    for k in range(40):
        replay.add(episode(1000 * k, steps))
        if k > 3:
            assert_windows_are_of_one_episode(draw(replay))
    assert replay.written == 40 * (steps + 1)
    newest = draw(replay).observations[0, :, 0].max()
    assert newest >= 39_000


def test_a_window_that_reaches_the_end_of_its_episode_is_cut_there():
    replay = Replay(50, (2,), 1)
    replay.add(episode(0, 5, terminated=True))
    replay.add(episode(100, 5))
    batch = draw(replay)
    left = 5 - batch.observations[0, :, 0] % 100
    assert (batch.valid.sum(axis=0) == np.minimum(left, 3)).all()
    last = batch.observations[1, :, 0] == 5
    assert last.any()
    assert (batch.goes_on[0, last] == 0).all()
    assert (batch.goes_on[0, ~last] == 1).all(), "a time limit is no terminal state"


def test_what_surprised_most_is_drawn_most_and_weighs_least():
    replay = Replay(50, (2,), 1)
    replay.add(episode(0, 10))
    replay.update(np.arange(10), np.full(10, 0.01, np.float32))
    replay.update(np.array([4]), np.array([10.0], np.float32))
    batch = draw(replay, size=2000)
    hit = batch.rows == 4
    share = 10**0.6 / (10**0.6 + 9 * 0.01**0.6)
    assert abs(hit.mean() - share) < 0.05
    assert batch.weights[hit].max() < batch.weights[~hit].min()


def test_a_stack_of_pictures_is_rebuilt_from_single_ones():
    frames = np.arange(8, dtype=np.uint8).repeat(3 * 4).reshape(8, 3, 2, 2)
    first = [frames[max(0, t - k)] for t in range(8) for k in (2, 1, 0)]
    stacks = np.stack(first).reshape(8, 9, 2, 2)
    replay = Replay(19, (9, 2, 2), 1)
    for _ in range(5):
        replay.add(
            EpisodeRecord(stacks, np.zeros((7, 1), np.float32), np.zeros(7, np.float32), False)
        )
        batch = draw(replay)
        newest = batch.observations[:, :, 6, 0, 0]
        for t in range(4):
            there = batch.valid[t - 1] > 0 if t else np.ones(500, bool)
            want = stacks[newest[t, there]]
            np.testing.assert_array_equal(batch.observations[t, there], want)


def test_a_replay_comes_back_from_disk_even_where_a_save_was_cut_short(tmp_path):
    replay, since = Replay(23, (2,), 1), 0
    for k in range(12):
        replay.add(episode(1000 * k, 4))
        replay.save(tmp_path, since)
        since = replay.written
        replay.tidy(tmp_path)
    replay.update(np.array([3]), np.array([5.0], np.float32))
    kept, written = replay.priority.copy(), replay.written
    replay.add(episode(99_000, 4))
    replay.save(tmp_path, written)  # and then the process dies before it says so

    again = Replay(23, (2,), 1)
    again.load(tmp_path, written, kept)
    assert again.written == written
    np.testing.assert_array_equal(again.priority, kept)
    assert draw(again).observations.max() < 99_000
    assert len(list(tmp_path.glob("*.npz"))) <= 7


def test_missing_rows_are_named(tmp_path):
    replay = Replay(50, (2,), 1)
    replay.add(episode(0, 4))
    replay.save(tmp_path, 0)
    with pytest.raises(FileNotFoundError, match="rows up to 10 are wanted, 5 are there"):
        Replay(50, (2,), 1).load(tmp_path, 10, np.zeros(10, np.float32))


def test_an_empty_replay_and_an_episode_that_does_not_fit_are_refused():
    replay = Replay(5, (2,), 1)
    with pytest.raises(ValueError, match="empty"):
        draw(replay)
    with pytest.raises(ValueError, match="does not fit 5 rows"):
        replay.add(episode(0, 5))
