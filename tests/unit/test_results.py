# SPDX-License-Identifier: MIT
"""What an evaluation reports: the interval, the keys, and the sentence."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftori_ros.config.paths import share_dir
from difftori_sim.evaluation.results import summarise, wilson, write_json


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (9, 10, 0.5958, 0.9821),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 50, 0.9287, 1.0),
        (1, 2, 0.0945, 0.9055),
        # R. G. Newcombe, Statistics in Medicine 17, 1998, table I: method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_is_that_of_published_examples(successes, episodes, low, high):
    assert wilson(successes, episodes) == pytest.approx((low, high), abs=5e-5)


def test_nothing_is_known_without_an_episode():
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_rate_and_mirrors_for_failures(case):
    successes, episodes = case
    low, high = wilson(successes, episodes)
    rate = successes / episodes
    assert 0.0 <= low <= rate + 1e-12
    assert rate - 1e-12 <= high <= 1.0
    assert low < high
    mirrored = wilson(episodes - successes, episodes)
    assert mirrored == pytest.approx((1.0 - high, 1.0 - low), abs=1e-12)


def result(outcomes=(True, False, True), plan_s=(0.001, 0.002, 0.003), steps=(5, 10, 6)):
    return summarise(
        task="pick_cube",
        checkpoint="pick_cube_state",
        policy="difftori",
        through="direct",
        first_seed=200_000,
        seeds="test",
        outcomes=outcomes,
        steps=steps,
        plan_s=plan_s,
    )


def test_summary_counts_and_takes_percentiles_of_plan_times():
    found = result()
    assert (found.episodes, found.successes) == (3, 2)
    assert found.success_by_seed == [True, False, True]
    assert found.steps_mean == 7.0
    assert found.plan_ms_p50 == pytest.approx(2.0)
    assert found.plan_ms_p99 == pytest.approx(2.98)
    assert found.interval_95 == wilson(2, 3)


def test_sentence_says_what_was_measured_and_how_sure_it_is():
    sentence = result().sentence
    assert sentence.startswith("2/3 episodes succeeded")
    for part in ("95 % interval 21% to 94%", "pick_cube_state", "difftori", "direct", "200000"):
        assert part in sentence


def documented_keys() -> list[str]:
    """Keys in the table of docs/reference/evaluation.md."""
    text = (share_dir() / "docs" / "reference" / "evaluation.md").read_text()
    rows = text.split("| key | meaning |")[1].splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return [key for cell in cells for key in re.findall(r"`(\w+)`", cell)]


def test_file_has_exactly_the_documented_keys(tmp_path):
    path = tmp_path / "made" / "on the way" / "result.json"
    write_json(path, result())
    found = json.loads(path.read_text())
    assert sorted(found) == sorted(documented_keys())
    assert found["success_by_seed"] == [True, False, True]
    assert found["interval_95"] == pytest.approx(wilson(2, 3))


def test_file_is_strict_json_also_when_no_plan_was_made(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, result(outcomes=(False,), plan_s=(), steps=(0,)))

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found["plan_ms_p50"] is None
    assert found["episodes"] == 1


def test_outcomes_of_numpy_are_written_as_plain_values(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, result(outcomes=[np.bool_(True)], plan_s=[np.float32(0.001)], steps=[5]))
    assert json.loads(path.read_text())["successes"] == 1
    assert not math.isnan(json.loads(path.read_text())["plan_ms_p99"])
