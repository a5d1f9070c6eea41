# SPDX-License-Identifier: MIT
"""Tables in the documents say what the kept lines say."""

import runpy
import shutil
import sys

import pytest

from benchmarks.support.pages import DOCS, put
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("study", "lines", "page"),
    [
        ("expert_success", "expert_success", "reference/suites.md"),
        ("imitation", "imitation", "results/imitation.md"),
        ("reinforcement", "reinforcement", "results/reinforcement.md"),
        ("bimodal", "bimodal", "results/imitation.md"),
    ],
)
def test_a_page_has_the_tables_of_its_lines(study, lines, page, monkeypatch, tmp_path, capsys):
    kept = shutil.copy(DOCS / "results" / f"{lines}.jsonl", tmp_path)
    path = ROOT / "benchmarks" / "studies" / f"{study}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--render", "--jsonl", str(kept)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip() in (DOCS / page).read_text()


def test_what_stands_between_marks_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n")
    put(page, "a", "new")
    put(page, "a", "newer\n")
    assert page.read_text() == "before\n<!-- a: begin -->\n\nnewer\n\n<!-- a: end -->\nafter\n"
    with pytest.raises(ValueError, match="has no marks '<!-- b: begin -->'"):
        put(page, "b", "new")
