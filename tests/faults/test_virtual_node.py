# SPDX-License-Identifier: MIT
"""What breaks a guard node whose guard is sound: on a virtual clock, at chosen instants."""

import pytest

from difftori_ros.types import GuardState, Reason
from tests.support.virtual.cases import Case
from tests.support.virtual.clock import BEGIN_NS, MS
from tests.support.virtual.world import World

STEADY = Case(end_ms=2600.0, plan_ms=5.0)


def happen(world: World) -> World:
    """Let it happen; no promise is broken."""
    tally = world.run()
    assert tally.breaches == []
    assert tally.accepted > 3, "nothing moves"
    return world


def commands(world: World, since_ms: float) -> int:
    """How many commands came after a time."""
    since_ns = BEGIN_NS + since_ms * MS
    return sum(at_ns > since_ns and what == "command" for at_ns, what, *_ in world.notes)


class Looking(World):
    """Looks at the guard at chosen times."""

    waited = False

    def do_look(self):
        """Whether a plan waits for joint states."""
        self.waited = self.guard.node._pending is not None


def test_a_plan_that_waits_for_joint_states_is_not_passed_on_after_the_farewell():
    found = 0
    for at_ms in range(1500, 1600, 10):
        events = (
            (at_ms - 60.0, "outage", ("guard_joints", 80.0, False)),
            (at_ms, "look", ()),
            (at_ms + 0.1, "farewell", (900.0,)),
        )
        world = happen(Looking(Case(end_ms=2300.0, plan_ms=5.0, events=events)))
        found += world.waited
        assert commands(world, at_ms + 700.0) == 0
    assert found, "no plan ever waited"


def test_two_guards_of_one_name_notice_each_other_and_hold_both():
    events = ((1000.0, "twin", (50.0,)),)
    world = happen(World(Case(end_ms=2600.0, plan_ms=5.0, events=events)))
    statuses = [guard.node._guard.status for guard in world.guards]
    assert len(statuses) == 2
    assert statuses[0].reason is Reason.SECOND_COMMANDER
    assert {status.state for status in statuses} == {GuardState.FAULT}
    assert commands(world, 2300.0) == 0


def test_a_pause_outlives_emergency_stop_release_and_reset():
    orders = (("pause", (True,)), ("estop", (True,)), ("estop", (False,)), ("reset", ()))
    events = tuple((1200.0 + 30.0 * k, *order) for k, order in enumerate(orders))
    world = happen(World(Case(end_ms=2600.0, plan_ms=5.0, events=events)))
    status = world.guard.node._guard.status
    assert (status.state, status.reason) == (GuardState.INACTIVE, Reason.PAUSED)
    assert commands(world, 1700.0) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_that_was_stopped_goes_on_from_where_the_controller_stayed(seed):
    events = ((1450.0 + 20.0 * seed, "stop", ("guard", 250.0)),)
    guard = {"max_recoveries": 1000, "output": "position"}
    world = happen(World(Case(seed=seed, speed=1.2, plan_ms=5.0, events=events, guard=guard)))
    assert sum(what == "set" for _, what, *_ in world.notes) > 50


@pytest.mark.parametrize("seed", range(5))
def test_a_guard_that_is_stopped_in_the_brake_holds_no_pose_from_before(seed):
    at_ms = 1400.0 + 13.0 * seed
    events = ((at_ms - 40.0, "estop", (True,)), (at_ms, "stop", ("guard", 350.0)))
    world = happen(World(Case(seed=seed, speed=1.2, plan_ms=5.0, events=events)))
    assert world.guard.node._guard.status.state is GuardState.FAULT


def test_what_was_latched_is_held_by_the_next_process_until_it_is_reset():
    events = (
        (1000.0, "estop", (True,)),
        (1050.0, "estop", (False,)),
        (1100.0, "kill", ("guard", 200.0)),
        (2100.0, "reset", ()),
    )
    world = happen(World(Case(end_ms=2900.0, plan_ms=5.0, events=events)))
    assert commands(world, 1700.0) > 0
    between = [at_ns for at_ns, what, *_ in world.notes if what == "command"]
    assert not [at for at in between if BEGIN_NS + 1700 * MS < at < BEGIN_NS + 2100 * MS]
