# SPDX-License-Identifier: MIT
"""Tables in the documents say what the kept lines say."""

import importlib
import json
from pathlib import Path

import pytest

from benchmarks.support.pages import put

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("benchmark", "page"),
    [
        ("expert_success", "reference/suites.md"),
        ("imitation", "results/imitation.md"),
        ("reinforcement", "results/reinforcement.md"),
        ("bimodal", "results/imitation.md"),
    ],
)
def test_a_page_has_the_tables_of_its_lines(benchmark, page):
    module = importlib.import_module(f"benchmarks.studies.{benchmark}")
    rows = [json.loads(line) for line in module.LINES.read_text().splitlines()]
    assert module.table(rows).strip() in (ROOT / "docs" / page).read_text()


def test_what_stands_between_marks_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    put(page, "a", "new")
    put(page, "a", "newer\n")
    assert page.read_text() == "before\n<!-- a: begin -->\n\nnewer\n\n<!-- a: end -->\nafter\n"
    with pytest.raises(ValueError, match="has no marks '<!-- b: begin -->'"):
        put(page, "b", "new")
