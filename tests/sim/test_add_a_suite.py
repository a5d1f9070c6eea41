# SPDX-License-Identifier: MIT
"""The recipe "Add a suite" works as printed, and a suite costs nothing before it is used."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from difftori_models.contract.specs import Card, Plan, PlanStatus
from difftori_models.data import load_demos
from difftori_models.training.rl.environment import require_fit
from difftori_sim import suites
from difftori_sim.arm.tasks import TEST_SEEDS, TRAIN_SEEDS
from difftori_sim.demonstrations.from_suite import record_suite
from difftori_sim.evaluation.suite import evaluate
from difftori_sim.suites.env import SuiteError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "use-a-suite.md"
HEAVY = ("dm_control", "gymnasium", "mani_skill", "metaworld", "mujoco", "robosuite", "sapien")


def recipe() -> tuple[str, str]:
    """The file and the line that the page prints."""
    text = PAGE.read_text().partition("## Add a suite\n")[2].partition("\n## ")[0]
    file, line = (block.partition("\n```")[0] for block in text.split("```python\n")[1:])
    return file, line


@pytest.fixture
def point(tmp_path, monkeypatch):
    """The suite of the recipe, its file in a folder of its own."""
    file, line = recipe()
    (tmp_path / "point.py").write_text(file)
    monkeypatch.setattr(suites, "__path__", [*suites.__path__, str(tmp_path)])
    monkeypatch.setattr(suites, "SUITES", suites.SUITES | eval(f"{{{line}}}"))
    yield "point"
    sys.modules.pop("difftori_sim.suites.point", None)


class Straight:
    """A planner that goes straight to the goal; its checkpoint's card fits the environment."""

    def __init__(self, info: suites.EnvironmentInfo) -> None:
        self.card = Card(
            "straight", info.task, info.robot, "bc", info.observation, info.action, {}, {}, {}, {}
        )

    def warm_up(self) -> None:
        """Nothing to do."""

    def reset(self, seed: int) -> None:
        """Nothing is remembered."""

    def plan(self, observation, deadline_s=None) -> Plan:
        x, y, goal_x, goal_y = observation.vectors["state"]
        step = np.clip(np.array([goal_x - x, goal_y - y]) * 20.0, -1.0, 1.0)
        actions = np.array([step, np.zeros(2)])
        return Plan(observation.stamp_ns, actions, 0.0, 0.0, 0, 0.0, PlanStatus.BASE)


def test_the_suite_of_the_recipe_demonstrates_evaluates_and_can_be_learned_in(point, tmp_path):
    assert suites.find_suite(point).tasks() == ["reach"]
    env = suites.open_suite(point, "reach", "state")
    made = record_suite(
        env,
        lambda seed: env.demonstrate(seed, 0.1),
        tmp_path / "demos.npz",
        episodes=3,
        first_seed=TRAIN_SEEDS.start,
        noise=0.1,
        command="as the recipe says",
    )
    demos = load_demos(tmp_path / "demos.npz")
    assert (made.written, demos.meta.task) == (3, "point.reach")
    assert np.abs(demos.actions).max() <= 1.0

    result = evaluate(Straight(env.info), env, episodes=5, first_seed=TEST_SEEDS.start)
    assert result.successes == 5

    gym = suites.make_gym(point, "reach")
    require_fit(gym)
    first = [gym.reset(seed=4)[0].tobytes(), gym.step(np.ones(2, np.float32))[0].tobytes()]
    again = [gym.reset(seed=4)[0].tobytes(), gym.step(np.ones(2, np.float32))[0].tobytes()]
    assert first == again


def test_the_suite_of_the_recipe_refuses_what_it_lacks(point):
    with pytest.raises(SuiteError, match="no task 'fly'; it has reach"):
        suites.open_suite(point, "fly", "state")
    with pytest.raises(SuiteError, match="observed as state alone, not as 'rgb'"):
        suites.open_suite(point, "reach", "rgb")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "tests_no_suite cannot be imported: No module named"),
        ("def tasks(): return []", "tests_no_suite has no function make"),
    ],
)
def test_module_that_is_no_suite_is_refused(text, complaint, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "tests_no_suite.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(suites.SUITES, "none", "tests_no_suite")
    with pytest.raises(SuiteError, match=f"suite 'none': {complaint}"):
        suites.find_suite("none")


def test_a_suites_packages_are_loaded_when_one_of_its_tasks_is_made():
    program = (
        "import sys\n"
        "from difftori_sim import suites\n"
        "found = [suites.find_suite(name) for name in suites.SUITES]\n"
        f"print(*sorted({set(HEAVY)} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
