# SPDX-License-Identifier: MIT
"""The fault table of the documentation names tests that exist, and codes that exist."""

import ast
import re

from difftori_ros.types import Reason
from difftori_sim.ros.fault_kinds import KINDS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "explanation" / "what-the-arm-does-when.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d+ \|", line)
]


def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_has_all_twenty_rows():
    assert {int(row[0]) for row in ROWS} == set(range(1, 21))
    assert all(len(row) == 6 for row in ROWS)


def test_every_named_test_exists_and_is_of_its_row():
    for number, *_, named in ROWS:
        if int(number) == 20:
            continue  # a benchmark of hours
        path, test = named.strip("`").split("::")
        assert test.startswith(f"test_row_{int(number):02d}_")
        assert test in defined_in(path), named


def test_every_row_but_the_last_has_tests():
    found = [
        name
        for path in (ROOT / "tests" / "faults").glob("test_*.py")
        for name in defined_in(str(path.relative_to(ROOT)))
    ]
    rows = {int(match[1]) for name in found if (match := re.match(r"test_row_(\d\d)_", name))}
    assert rows == set(range(1, 20))


def test_every_code_in_the_table_is_one_of_the_nodes():
    for row in ROWS:
        for code in re.findall(r"`([A-Z_]+)`", row[3]):
            assert code in Reason.__members__


def test_the_example_is_a_fault_that_exists():
    (example,) = re.findall(r'faults: \["(\S+)"\]', PAGE)
    assert example.split(":")[1] in KINDS
