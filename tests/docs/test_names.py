"""What pages name exists, and what they count is counted."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|toml|lock|json|yaml))`")
OURS = ("contracts/", "infra/", "services/", "tests/")
TO_BE_WRITTEN = {"services/partners/channels/folder.py"}
"""What a how-to has its reader write."""
COUNTED = ROOT / "docs" / "adr" / "0008-what-we-write-by-hand.md"
WITHIN = 0.15


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = {name for name in FILE.findall(page.read_text()) if name.startswith(OURS)}
    assert [n for n in sorted(named - TO_BE_WRITTEN) if not (ROOT / n).exists()] == []


def test_what_we_write_by_hand_is_counted() -> None:
    text = COUNTED.read_text()
    rows = re.findall(r"^\| (.+\.py\)|.+tlog\)) \|.*\| (\d+) \|$", text, flags=re.MULTILINE)
    assert len(rows) == 7
    for cell, lines in rows:
        places = [
            (COUNTED.parent / link).resolve() for link in re.findall(r"\]\((\S+)\)", cell)
        ]
        files = [
            f for place in places for f in (place.rglob("*.py") if place.is_dir() else [place])
        ]
        counted = sum(len(file.read_text().splitlines()) for file in files)
        assert abs(counted - int(lines)) <= WITHIN * int(lines), (cell, counted)
    (about,) = re.findall(r"^About ([\d,]+) lines", text, flags=re.MULTILINE)
    total = sum(int(lines) for _, lines in rows)
    assert abs(total - int(about.replace(",", ""))) <= WITHIN * total
