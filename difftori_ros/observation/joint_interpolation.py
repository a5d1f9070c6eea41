# SPDX-License-Identifier: MIT
"""Where the joints were at some time, in between the joint states that are known."""

from __future__ import annotations

from difftori_ros.types import JointState

from .stream_buffer import StreamBuffer


def joints_at(states: StreamBuffer[JointState], stamp_ns: int, until_ns: int) -> dict[str, float]:
    """Joint positions at a stamp, by name; empty without a joint state.

    Between two joint states they are on a straight line; before the first and after the last they
    are those of that one.

    Args:
        states: The joint states.
        stamp_ns: The time in question [ns].
        until_ns: Joint states stamped later than this are not known [ns].
    """
    before, after = states.around(stamp_ns, until_ns)
    if before is None or after is None:
        only = before or after
        return {} if only is None else _positions(only[1])
    (begin_ns, first), (end_ns, last) = before, after
    share = (stamp_ns - begin_ns) / max(end_ns - begin_ns, 1)
    there = _positions(last)
    return {
        name: (1 - share) * here + share * there[name]
        for name, here in _positions(first).items()
        if name in there
    }


def _positions(state: JointState) -> dict[str, float]:
    return dict(zip(state.names, state.position.tolist(), strict=True))
