"""How long it takes until the package, and its commands, are there.

Each command runs in a process of its own, in turn with the bare one beside it.
"""

import os
import statistics
import subprocess
import sys
import time

_TURNS = 15
COMMANDS = {
    "python": ["-c", ""],
    "import numpy": ["-c", "import numpy"],
    "import geoimages": ["-c", "import geoimages"],
    "geoimages --version": ["-m", "geoimages", "--version"],
    "geoimages --help": ["-m", "geoimages", "--help"],
    "geoimages similar --help": ["-m", "geoimages", "similar", "--help"],
}


def seconds(arguments):
    """Run Python once: the time that takes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    return time.perf_counter() - start


class Startup:
    """Start: times of NumPy's import, and of a bare Python's start; and seconds more."""

    timeout = 600

    def setup(self):
        """Run all commands in turn."""
        times = {name: [] for name in COMMANDS}
        for _ in range(_TURNS + 1):
            for name, arguments in COMMANDS.items():
                times[name].append(seconds(arguments))
        # The first turn reads files from the disk and writes byte code.
        self.medians = {
            name: statistics.median(some[1:]) for name, some in times.items()
        }

    def _compared(self, name, bare, more=False):
        ours, theirs = self.medians[name], self.medians[bare]
        return ours - theirs if more else ours / theirs

    def track_import_over_numpy(self):
        return self._compared("import geoimages", "import numpy")

    def track_import_seconds_more_than_numpy(self):
        return self._compared("import geoimages", "import numpy", more=True)

    def track_version_over_bare_python(self):
        return self._compared("geoimages --version", "python")

    def track_version_seconds_more_than_bare_python(self):
        return self._compared("geoimages --version", "python", more=True)

    def track_help_over_bare_python(self):
        return self._compared("geoimages --help", "python")

    def track_help_seconds_more_than_bare_python(self):
        return self._compared("geoimages --help", "python", more=True)

    def track_help_of_similar_over_bare_python(self):
        return self._compared("geoimages similar --help", "python")


SUITES = [Startup]
