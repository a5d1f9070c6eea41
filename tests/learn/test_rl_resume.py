# SPDX-License-Identifier: MIT
"""A run of reinforcement learning that is killed goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_reinforcement import SMALL

from difftori_models.training.errors import ResumeError
from difftori_models.training.rl.config import RLConfig
from difftori_models.training.rl.trainer import RLTrainer
from difftori_models.training.run_log import Row, read_rows
from difftori_models.training.run_state import load_state, sole_writer
from tests.support.point_world import PointWorld

CONFIG = replace(SMALL, steps=180, seed_steps=40, save_every=60, eval_every=80, capacity=90)
SHORT = replace(CONFIG, steps=100)
TIMES = ("seconds", "steps_per_s", "play_s")

CHILD = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{folder!r}, {root!r}]
from test_rl_resume import CONFIG
from difftori_models.training.rl.trainer import RLTrainer
from tests.support.point_world import PointWorld
RLTrainer.open(replace(CONFIG, out=Path({out!r}), method={method!r}), PointWorld()).run()
"""


def start(out: Path, method: str) -> subprocess.Popen[bytes]:
    folder = Path(__file__).parent
    root = str(folder.parents[1])
    code = CHILD.format(folder=str(folder), root=root, out=str(out), method=method)
    return subprocess.Popen(
        [sys.executable, "-c", code], env=dict(os.environ), stderr=subprocess.DEVNULL
    )


def metrics(out: Path) -> list[Row]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_rows(out)]


def kill_after(process: subprocess.Popen[bytes], out: Path, step: int) -> None:
    while not any(row["step"] >= step for row in metrics(out)):
        try:
            code = process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"the run ended by itself with {code} before step {step}")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def whole(out: Path, method: str, config: RLConfig = CONFIG) -> RLTrainer:
    trainer = RLTrainer.open(replace(config, out=out, method=method), PointWorld())
    trainer.run()
    return trainer


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole(undisturbed, "difftori_rl")
    # Between two saved states, and when the ring has begun anew.
    for step in (80, 140):
        kill_after(start(killed, "difftori_rl"), killed, step)
    whole(killed, "difftori_rl")
    assert metrics(killed) == metrics(undisturbed)
    ours, theirs = (load_state(out / "state") for out in (killed, undisturbed))
    assert ours is not None
    assert theirs is not None
    assert ours[1].keys() == theirs[1].keys()
    for name, tensor in ours[1].items():
        assert tensor.equal(theirs[1][name]), name


@pytest.mark.slow
def test_so_does_one_of_tdmpc(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole(undisturbed, "tdmpc")
    kill_after(start(killed, "tdmpc"), killed, 140)
    whole(killed, "tdmpc")
    assert metrics(killed) == metrics(undisturbed)


def test_a_finished_run_does_nothing_more_unless_it_is_given_more_steps(tmp_path):
    done = whole(tmp_path, "difftori_rl", SHORT)
    rows = metrics(tmp_path)
    with sole_writer(tmp_path), pytest.raises(ResumeError, match="another process is training"):
        whole(tmp_path, "difftori_rl", replace(SHORT, steps=SHORT.steps + 40))
    again = whole(tmp_path, "difftori_rl", SHORT)
    assert again.counts == done.counts
    assert metrics(tmp_path) == rows
    with pytest.raises(ResumeError, match=r"other settings \(lr 0.001 there, 0.01 now\)"):
        RLTrainer.open(replace(CONFIG, out=tmp_path, lr=0.01), PointWorld())
    more = whole(tmp_path, "difftori_rl", replace(SHORT, steps=SHORT.steps + 40, name="longer"))
    assert more.counts.step == SHORT.steps + 40
    assert metrics(tmp_path)[: len(rows)] == rows


def test_rows_of_the_replay_that_are_gone_are_named(tmp_path):
    whole(tmp_path, "difftori_rl", SHORT)
    for file in (tmp_path / "replay").glob("*.npz"):
        file.unlink()
    with pytest.raises(ResumeError, match="rows up to"):
        RLTrainer.open(replace(CONFIG, out=tmp_path), PointWorld())
