# SPDX-License-Identifier: MIT
"""The demonstration runs through the three processes, shows what happens and writes it down."""

import json
import os
import re
import subprocess
import sys

import imageio.v2 as imageio
import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from difftori_sim.arm.tasks import TEST_SEEDS
from difftori_sim.cli.live_table import COLUMNS
from difftori_sim.cli.picture import PATH_COLOR
from tests.unit.test_results import documented_keys

pytestmark = [pytest.mark.vulkan, pytest.mark.timeout(400)]

CHECKPOINT, EPISODES = "pick_cube_state", 2


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run of the command: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "difftori_sim.cli.main", "demo", "--checkpoint", CHECKPOINT]
    command += ["--episodes", str(EPISODES), "--out", str(folder / "out")]
    done = subprocess.run(
        [*command, "--json", str(folder / "result.json")],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ) | {"COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return folder, done.stdout


def test_result_has_exactly_the_documented_keys(demo):
    found = json.loads((demo[0] / "result.json").read_text())
    assert sorted(found) == sorted(documented_keys())
    assert found["through"] == "ros"
    assert (found["episodes"], found["first_seed"]) == (EPISODES, TEST_SEEDS.start)
    assert found["checkpoint"] == CHECKPOINT
    assert 0.0 < found["plan_ms_p50"] <= found["plan_ms_p99"]
    assert found["successes"] >= 1


def test_success_count_is_printed(demo):
    folder, text = demo
    found = json.loads((folder / "result.json").read_text())
    assert any(
        line.startswith(f"{found['successes']}/{EPISODES} episodes succeeded")
        for line in text.splitlines()
    )


def test_table_shows_plans_objectives_ages_and_states(demo):
    _, text = demo
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if line.split()[:2] == ["time", "plan"])
    heads = " ".join(lines[first : first + 2]).split()
    for column in COLUMNS:
        assert set(column.head.split()) <= set(heads), f"'{column.head}' is cut short"
    row = next(line for line in lines if "REFINED" in line)
    assert "TRACKING" in row
    numbers = [float(word) for word in re.findall(r"-?\d+\.\d+", row)]
    assert len(numbers) == 5, "time, plan time, objective before and after, age"
    _, plan_ms, before, after, age_s = numbers
    assert plan_ms > 0.0
    assert after >= before, "refinement raises the objective"
    assert 0.0 <= age_s < 0.5


def test_video_plays_and_shows_motion(demo):
    path = demo[0] / "out" / "episode.mp4"
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    played = subprocess.run(command, capture_output=True, check=True)
    size = re.search(rb"Video: h264.* (\d+)x(\d+)[, ]", played.stderr)
    assert size is not None, played.stderr
    width, height = map(int, size.groups())
    frames = np.frombuffer(played.stdout, dtype=np.uint8).reshape(-1, height, width, 3)
    assert len(frames) >= 10
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5


def test_strip_has_the_planned_path_drawn_in(demo):
    strip = imageio.imread(demo[0] / "out" / "episode.png")
    height, width, _ = strip.shape
    assert width == 6 * height
    marked = (strip == PATH_COLOR).all(axis=2)
    for k in range(1, 6):
        assert marked[:, k * height : (k + 1) * height].any(), f"picture {k}"


def test_logs_of_the_three_processes_are_kept(demo):
    names = {path.stem for path in (demo[0] / "out" / "logs").glob("*.log")}
    assert names == {"sim_bridge", "guard_node", "policy_node"}
