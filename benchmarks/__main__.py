"""Run the benchmarks: ``python -m benchmarks [NAME ...]``, for example ``speed``.

``NAME:PART,PART`` runs parts of a module that has parts, such as ``photographs``.

Each suite's ``setup`` prepares its data. A ``time_*`` method is timed (the best and the
median of several runs), a ``track_*`` method returns a figure. ``RATIOS`` names pairs
``(slow, fast)`` of timed methods whose ratio is the result to quote: these machines are
noisy, their ratios are not. What takes minutes sets ``ONCE`` and runs once. A suite
with a ``run`` of its own does it all by itself.
"""

import importlib
import statistics
import sys
import time
from pathlib import Path

from tqdm import tqdm


def _time(method, once, seconds=3, most=20):
    """Run a method several times, or once: its times, in seconds."""
    if not once:
        method()
    times, fewest = [], 1 if once else 2
    while len(times) < fewest or (sum(times) < seconds and len(times) < most):
        start = time.perf_counter()
        method()
        times.append(time.perf_counter() - start)
    return times


def run(suite):
    """Run one suite and print its figures."""
    suite.setup()
    print(f"\n{suite.__doc__.splitlines()[0]}")
    medians = {}
    names = [name for name in dir(suite) if name.startswith("time_")]
    names += [name for name in dir(suite) if name.startswith("track_")]
    for name in tqdm(names, leave=False, disable=None):
        method = getattr(suite, name)
        title = name.split("_", 1)[1].replace("_", " ")
        if name.startswith("track_"):
            print(f"  {title:42s} {method():12.4g}")
            continue
        times = _time(method, getattr(suite, "ONCE", False))
        medians[name] = statistics.median(times)
        print(
            f"  {title:42s} {1e3 * medians[name]:12.2f} ms"
            f"  ({1e3 * min(times):.2f} to {1e3 * max(times):.2f}, {len(times)} runs)"
        )
    for slow, fast in getattr(suite, "RATIOS", ()):
        ratio = medians[slow] / medians[fast]
        print(f"  {slow[5:]} / {fast[5:]} = {ratio:.1f}".replace("_", " "))


def main(names):
    """Run all suites, or those of the modules named, or parts of these."""
    parts = {}
    for name in names:
        module, _, some = name.partition(":")
        parts[module] = some.split(",") if some else []
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        if names and name not in parts:
            continue
        module = importlib.import_module(f"{__package__}.{path.stem}")
        for suite in module.SUITES:
            suite = suite()
            if hasattr(suite, "run"):
                suite.run(*parts.get(name, []))
            else:
                run(suite)


if __name__ == "__main__":
    main(sys.argv[1:])
