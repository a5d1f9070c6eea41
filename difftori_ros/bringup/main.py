# SPDX-License-Identifier: MIT
"""`difftori-ros-bringup`: what policy.launch.py runs, without ros2 launch."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from difftori_models.checkpoint import load_card
from difftori_models.inference.backends.base import BACKENDS
from difftori_ros.config.paths import find_checkpoint
from difftori_ros.policy.compatibility import check_card
from difftori_ros.policy.scripted import is_scripted, open_script
from difftori_ros.robot.profile import load_profile

from .node_specs import policy_specs
from .processes import interrupt_on_termination, start, stop, what_goes_on


def main(argv: Sequence[str] | None = None) -> int:
    """Run guard, policy and black box until one of the first two ends, SIGINT or SIGTERM comes."""
    parser = argparse.ArgumentParser(
        prog="difftori-ros-bringup",
        description="Run what policy.launch.py runs, without ros2 launch.",
    )
    parser.add_argument("--checkpoint", default="pick_cube_points", help="folder or shipped name")
    parser.add_argument(
        "--robot", default="panda", help="robot profile: shipped name or YAML file"
    )
    parser.add_argument("--config-file", default="", help="parameters laid over the shipped ones")
    parser.add_argument(
        "--dry-run", action="store_true", default=None, help="plan, but send nothing"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where the networks run")
    parser.add_argument("--backend", choices=BACKENDS, help="what runs them")
    parser.add_argument(
        "--blackbox",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="record the last seconds and write them when a fault occurs",
    )
    parser.add_argument("--enclaves", default="", help="path of the nodes' SROS2 enclaves")
    arguments = parser.parse_args(argv)
    # what is not given is left to the parameter files
    given = {name: getattr(arguments, name) for name in ("dry_run", "device", "backend")}
    specs = policy_specs(
        arguments.checkpoint,
        arguments.robot,
        config_file=arguments.config_file,
        parameters={name: value for name, value in given.items() if value is not None},
        blackbox=arguments.blackbox,
        enclaves=arguments.enclaves,
    )
    try:
        profile = load_profile(arguments.robot)
        if is_scripted(arguments.checkpoint):
            open_script(arguments.checkpoint, profile)
        else:
            check_card(load_card(find_checkpoint(arguments.checkpoint)), profile)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"difftori-ros-bringup: {error}\n")
        return 1
    interrupt_on_termination()
    guard, policy, *others = processes = [start(spec) for spec in specs]
    told: set[str] = set()
    try:
        while guard.poll() is None and (policy.poll() or 0) <= 0 and policy.returncode != 0:
            for spec, process in zip(specs[1:], (policy, *others), strict=True):
                if process.poll() is not None and spec.name not in told:
                    told.add(spec.name)
                    going_on = what_goes_on(spec.name, process.returncode)
                    sys.stderr.write(f"{going_on}; interrupt to end everything\n")
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    return max(abs(code) for code in stop(processes))


if __name__ == "__main__":
    sys.exit(main())
