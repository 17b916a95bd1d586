"""A map over shards: retried, named, and the same wherever it runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from geoimages.collection import maps
from geoimages.collection.maps import map_shards


def square(x):
    return x * x


def threads_of(x):
    return max(info["num_threads"] for info in threadpool_info())


def fails_twice(folder, x):
    tries = Path(folder) / str(x)
    with tries.open("a") as file:
        file.write("x")
    if x == 3 and tries.stat().st_size < 3:
        raise OSError("the share was away")
    if x == 4:
        raise ValueError("two\nlines")
    if x == 5:
        raise MemoryError
    return x


def dies(folder, x, often):
    """End the worker, the first times that it is asked for 3."""
    tries = Path(folder) / str(x)
    with tries.open("a") as file:
        file.write("x")
    if x == 3 and tries.stat().st_size <= often:
        time.sleep(0.05)
        os._exit(1)
    return x


def full(x):
    raise OSError(28, "No space left on device", "rocks/shard-00000.h5")


BACKENDS = [{"n_jobs": 1}, {"n_jobs": 2, "backend": "loky"}]
BACKENDS += [{"n_jobs": 2, "backend": "threading"}]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_come_in_order_from_every_backend(backend, tmp_path):
    with joblib.parallel_config(**backend):
        found, failed = map_shards(square, [(i,) for i in range(9)], desc="squaring")
        assert (found, failed) == ([i * i for i in range(9)], {})
        threads, _ = map_shards(threads_of, [(0,)], desc="counting")
        assert threads == [1]
        tasks = [(tmp_path, i) for i in range(7)]
        found, failed = map_shards(fails_twice, tasks, desc="failing")
    assert found == [0, 1, 2, 3, None, None, 6]
    assert failed == {4: "two lines", 5: "out of memory"}
    assert [(tmp_path / str(i)).stat().st_size for i in range(7)] == [
        1,
        1,
        1,
        3,
        3,
        3,
        1,
    ]


def large(x):
    """Return more than a pipe holds."""
    return np.full(1_000_000, x)


def how_sent(i, folder):
    sent = maps._numbered(i, folder, 0, large, (i,), maps.versions())[1]
    return [type(part).__name__ for part in sent]


def test_large_results_come_in_files_of_which_none_is_left(tmp_path, monkeypatch):
    # Through a pipe, one whose worker is killed meanwhile would be waited for for ever.
    assert how_sent(3, tmp_path) == ["NoneType", "_Spilled"]
    spilled = maps._numbered(3, tmp_path, 0, large, (3,), maps.versions())[1][1]
    assert (spilled.read() == 3).all()
    monkeypatch.setattr(maps.tempfile, "tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    with joblib.parallel_config(n_jobs=2, backend="loky"):
        found, failed = map_shards(large, [(i,) for i in range(4)], desc="sending")
    assert not failed
    assert [int(values[-1]) for values in found] == [0, 1, 2, 3]
    assert not list((tmp_path / "t").glob("geoimages-*"))


@pytest.mark.parametrize("often", [1, 9])
def test_a_worker_that_dies_is_replaced_and_its_task_tried_again(tmp_path, often):
    with joblib.parallel_config(n_jobs=2, backend="loky"):
        tasks = [(tmp_path, i, often) for i in range(6)]
        found, failed = map_shards(dies, tasks, desc="dying")
    if often == 1:
        assert (found, failed) == (list(range(6)), {})
    else:
        assert failed == {
            3: "its worker died: killed, or out of memory, of which each needs 2 GB"
        }
        assert found == [0, 1, 2, None, 4, 5]


ASKED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import joblib
from test_maps import waits
from geoimages.collection.maps import map_shards
with joblib.parallel_config(n_jobs=2, backend="loky"):
    map_shards(waits, [(sys.argv[2], i) for i in range(2)], desc="waiting")
"""


def waits(folder, i):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
def test_workers_end_with_a_process_that_was_killed(tmp_path):
    here = str(Path(__file__).parent)
    began, spilled = tmp_path / "began", tmp_path / "spilled"
    began.mkdir()
    spilled.mkdir()
    command = [sys.executable, "-c", ASKED, here, str(began)]
    until = time.monotonic() + 60
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(spilled)}) as asking:
        while len(list(began.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(list(spilled.glob("geoimages-*"))) == 1
        asking.kill()
    pids = [int(path.name) for path in began.iterdir()]
    assert len(pids) == 2
    until = time.monotonic() + 30
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, pids))
    assert not list(spilled.glob("geoimages-*"))


def test_what_no_worker_can_do_ends_at_once():
    with pytest.raises(OSError, match="No space left") as caught:
        map_shards(full, [(1,), (2,)], desc="writing")
    assert caught.value.errno == 28


def test_other_versions_are_one_clear_line(monkeypatch):
    asked = maps.versions() | {"geoimages": "0.0.1"}
    error, _ = maps._guarded(square, (2,), asked)
    kind, told, _, fatal = error
    assert fatal
    assert issubclass(kind, ValueError)
    assert "instead of 0.0.1; install the same versions" in told
    assert "\n" not in told


@pytest.mark.parametrize("backend", BACKENDS)
def test_tasks_are_made_while_others_run_and_an_error_in_that_ends_the_map(backend):
    made = []

    def make(i):
        made.append(i)
        if i == 7:
            raise OSError(28, "No space left on device")
        return (i,)

    with (
        joblib.parallel_config(**backend),
        pytest.raises(OSError, match="No space left"),
    ):
        map_shards(square, maps.Tasks(9, make), desc="squaring")
    assert made == [*range(8)]


def test_rows_are_not_sent(monkeypatch):
    rows = np.zeros((1000, 128))
    with pytest.raises(ValueError, match="at most 1,000,000 are sent"):
        map_shards(square, [(rows,)], desc="sending")
