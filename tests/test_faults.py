"""Whatever writes is killed, starved and forbidden: the short form of ``make faults``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

JOBS = ("etl", "etl --resume", "add", "save a model", "ledger --csv", "vote")


@pytest.mark.skipif(sys.platform == "win32", reason="forks and signals")
def test_the_old_file_or_the_new_one():
    command = [sys.executable, Path(__file__).parent / "faults", *JOBS]
    done = subprocess.run(
        [*command, "--kills", "1", "--writes", "2"], capture_output=True, text=True
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    n_points = int(re.search(r"(\d+) points tried, 0 losses", told)[1])
    assert n_points >= 8 * len(JOBS)
