#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes what the declarations of the parameters say into `config/` and the reference page.

python scripts/generate_docs.py            write the files
python scripts/generate_docs.py --check    write nothing; fail when a file would change
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from difftori_ros.config.parameter import Parameter  # noqa: E402
from difftori_ros.config.parameters import BLACKBOX, POLICY  # noqa: E402
from difftori_ros.guard.config import GUARD  # noqa: E402
from difftori_sim.ros.bridge_parameters import BRIDGE  # noqa: E402

FILES = {"policy_node": POLICY, "guard_node": GUARD, "blackbox_node": BLACKBOX}
"""Nodes with a YAML file of their own, which holds every default."""
PAGE = "docs/reference/parameters.md"
NODES = FILES | {"sim_bridge": BRIDGE}
"""Nodes on the reference page."""
WIDTH = 99
PAGE_WIDTH = 118


def limits(parameter: Parameter) -> str:
    """What is allowed, in words; empty for anything of the type."""
    if parameter.choices:
        return ", ".join(parameter.choices)
    if parameter.low is None:
        return ""
    unit = f" {parameter.unit}" if parameter.unit else ""
    return f"{parameter.low:.10g} to {parameter.high:.10g}{unit}"


def yaml_file(node: str, parameters: Sequence[Parameter]) -> str:
    """The parameter file of a node with every default, explained."""
    lines = [
        f"# Every parameter of {node} with its default.",
        "# Written by scripts/generate_docs.py from the declarations: change a copy of it.",
        "/**:",
        f"  {node}:",
        "    ros__parameters:",
    ]
    for one in parameters:
        text = " ".join(
            [
                one.sentence,
                *([f"Allowed: {limits(one)}."] if limits(one) else []),
                *(["Live."] if one.live else []),
            ]
        )
        lines += textwrap.wrap(
            text, WIDTH, initial_indent="      # ", subsequent_indent="      # ", **WRAP
        )
        lines.append(f"      {one.name}: {json.dumps(one.default)}")
    return "\n".join(lines) + "\n"


def page_entries(parameters: Sequence[Parameter]) -> str:
    """The list of a node's parameters on the reference page."""
    entries: list[str] = []
    for one in parameters:
        facts = [f"default `{json.dumps(one.default)}`", *([limits(one)] if limits(one) else [])]
        if one.live:
            facts.append("*live*")
        sentence = one.sentence.replace("<", "\\<")
        text = f"- **`{one.name}`** ({'; '.join(facts)}): {sentence}"
        entries += textwrap.wrap(text, PAGE_WIDTH, subsequent_indent="  ", **WRAP)
    return "\n".join(entries)


WRAP = {"break_long_words": False, "break_on_hyphens": False}


def page(text: str) -> str:
    """The reference page with the list of each node's parameters between its two marks.

    Raises:
        ValueError: The page lacks the marks of a node.
    """
    for node, parameters in NODES.items():
        begin, end = f"<!-- parameters of {node} -->", f"<!-- end of {node} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{PAGE} lacks '{begin}' and '{end}'")
        block = f"{begin}\n{page_entries(parameters)}\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)
    return text


def generated() -> dict[Path, str]:
    """Every generated file and what it is to hold."""
    files = {
        ROOT / "config" / f"{node.removesuffix('_node')}.yaml": yaml_file(node, parameters)
        for node, parameters in FILES.items()
    }
    return files | {ROOT / PAGE: page((ROOT / PAGE).read_text())}


def outdated() -> list[str]:
    """Generated files that do not hold what they are to hold, relative to the root."""
    return [str(p.relative_to(ROOT)) for p, text in generated().items() if p.read_text() != text]


def main() -> int:
    """Write the files, or with `--check` say which ones would change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    if parser.parse_args().check:
        for name in (old := outdated()):
            sys.stderr.write(f"{name} is outdated: run python scripts/generate_docs.py\n")
        return int(bool(old))
    for path, text in generated().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
