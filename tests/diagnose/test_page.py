"""docs/advice.md has the tables that its command prints of the committed runs, of every one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.claims
def test_the_page_has_every_row_that_the_forward_table_prints():
    """A run that was committed later makes the page stale, and fails here."""
    command = [sys.executable, ROOT / "benchmarks" / "advice_forward.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "advice.md").read_text().splitlines()
    printed = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    missing = []
    for line in printed:
        own = line.replace("| **all** | ", "| ", 1)  # the first table has a row a metric
        if own not in page:
            missing.append(own)
    assert len(printed) > 50 and missing == []
