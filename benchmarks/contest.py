"""Time contestants side by side, each in a process of its own.

``python -m benchmarks.contest NAME`` times one and prints what it measured as JSON;
``NAME@100000`` searches so many rows.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from .contestants import CONTESTANTS, Size

_ONE_CORE = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_SECONDS, _FEWEST, _MOST = 3, 3, 60  # of the runs of one process
_LONG = 60  # seconds; what takes longer runs once


@dataclass
class Measured:
    """What a contestant took.

    Parameters
    ----------
    value : float
        The median time of a run in seconds, or what the run gave back.
    values : list of float
        All of them.
    figures : dict of str to float
        What the contestant says of itself.
    """

    value: float
    values: list
    figures: dict

    @property
    def spread(self):
        """The least and the largest."""
        return min(self.values), max(self.values)


def _timed(run, i):
    """Seconds that a run takes."""
    start = time.perf_counter()
    run(i)
    return time.perf_counter() - start


def measure(run, *, is_size=False):
    """Run a contestant several times; where a run takes long, once."""
    if is_size:
        value = run(0)
        return Measured(value, [value], {})
    values = [_timed(run, 0)]
    if values[0] < _LONG:  # that was to warm up
        fewest = _FEWEST if values[0] < _SECONDS else 1
        values = []
        while len(values) < fewest or (sum(values) < _SECONDS and len(values) < _MOST):
            values.append(_timed(run, len(values) + 1))
    figures = getattr(run, "figures", {})
    return Measured(statistics.median(values), values, figures)


def in_own_process(name):
    """Measure a contestant on one core, by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contest", name],
        env=os.environ | _ONE_CORE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def contest(names, rounds=2):
    """Measure contestants in turn, twice, so that a slow minute falls on all.

    Returns
    -------
    measured : dict of str to Measured
    """
    measured = {}
    for _ in range(rounds):
        for name in names:
            before, again = measured.get(name), None
            if before is None or before.value < _LONG / 10:
                again = in_own_process(name)
            if before and again:
                values = before.values + again.values
                again = Measured(statistics.median(values), values, again.figures)
            measured[name] = again or before
    return measured


def made(name):
    """Make a contestant of its name, with the number of rows behind an @."""
    name, _, n_rows = name.partition("@")
    return CONTESTANTS[name](Size(n_rows=int(n_rows)) if n_rows else Size())


if __name__ == "__main__":
    name = sys.argv[1]
    print(json.dumps(asdict(measure(made(name), is_size="memory" in name))))
