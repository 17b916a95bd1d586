"""The short form of ``make scale``: some tiles, two workers, one killed."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "scale"


def test_a_killed_worker_changes_no_answer(tmp_path):
    options = "--tiles 900 --queries 30 --shards 4"
    done = subprocess.run(
        [sys.executable, SCRIPT, *options.split(), "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[1])},
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("All answers agree: 900 tiles")
    assert not list(tmp_path.iterdir())
