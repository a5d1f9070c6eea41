# SPDX-License-Identifier: MIT
"""The pages can be read, their links lead somewhere, and what they claim to run runs."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
WIDTH = 120
TABLE = re.compile(r"^\s*\|")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = "difftori_ros|models|sim|tests|benchmarks|config|launch|scripts"
NAMED = re.compile(rf"(?<![\w./-])(?:\./)?((?:{FOLDERS})/[\w./-]*\w)")
WRITTEN_BY_THE_READER = {
    "config/robots/my_arm.urdf",
    "sim/suites/point.py",
    "tests/unit/test_codecs_odometry.py",
}
HEADING = re.compile(r"^#+ (.+)$", re.M)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(text))
    return {title.strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_line_but_those_of_tables_is_longer_than_the_width(page):
    lines = enumerate(page.read_text().splitlines(), 1)
    long = [k for k, line in lines if len(line) > WIDTH and not TABLE.match(line)]
    assert not long, f"{name(page)}: lines {long} have more than {WIDTH} characters"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for target in LINK.findall(page.read_text()):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)}: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{name(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_of_the_checkout_that_is_named_exists(page):
    text = re.sub(r"^```\w+ title=.*?^```", "", page.read_text(), flags=re.M | re.S)
    missing = [path for path in NAMED.findall(text) if not (ROOT / path).exists()]
    # What a page asks the reader to write is not there yet.
    assert set(missing) <= WRITTEN_BY_THE_READER, f"{name(page)} names {missing}"


def test_every_page_is_in_the_navigation_once():
    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        entries = entry if isinstance(entry, list) else entry.values()
        return [page for one in entries for page in pages(one)]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_page_has_one_title_in_its_first_line(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", text, re.M)) == 1


def test_every_picture_of_the_readme_is_small_enough_to_load():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size <= 1_500_000


def test_the_python_of_the_readme_takes_eight_lines_and_prints_a_plan(monkeypatch):
    readme = (ROOT / "README.md").read_text()
    [example] = re.findall(r"^```python\n(.*?)^```$", readme, re.M | re.S)
    assert len([line for line in example.splitlines() if line]) <= 8
    monkeypatch.chdir(ROOT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, {})
    assert re.fullmatch(r"(REFINED|DEADLINE) \(4, 4\) \d+\.\d ms\n", printed.getvalue())


def test_citation_names_the_version_of_the_package():
    version = re.search(r"<version>(.+)</version>", (ROOT / "package.xml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version is not None
    assert citation["version"] == version[1]
    assert citation["license"] == "MIT"
