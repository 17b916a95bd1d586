"""A map over shards on Dask: real worker processes, killed, and a scheduler that ends."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import joblib
import pandas as pd
import pytest
from test_maps import dies, fails_twice, threads_of

from geoimages import Collection, HOGFeatures, PairwiseModel
from geoimages.cli import main
from geoimages.collection import maps
from geoimages.collection.maps import map_shards, workers
from geoimages.similarity import sharded

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore")  # of another package


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread."""
    import dask

    quiet = {
        "distributed.worker.memory.spill": False,
        "distributed.admin.log-length": 0,
        "logging.distributed": "critical",
        "distributed.comm.timeouts.connect": "5s",
    }
    with (
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster


def test_shards_are_those_of_one_process(rock_zip, tmp_path, cluster, capsys):
    Collection.create(f"{tmp_path}/one/", rock_zip, rows=20).close()
    argv = ["etl", str(rock_zip), "-o", f"{tmp_path}/two/", "--rows", "20"]
    assert main([*argv, "--dask", cluster.scheduler_address]) == 0
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two


def test_a_search_finds_what_one_process_finds(rocks, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(sharded, "_LEAST_SHARED", 0)  # however few rows
    model, keys = PairwiseModel(4, "cosine", HOGFeatures()), rocks.keys[:3].tolist()
    expected = model.fit(rocks).predict(keys)
    rocks.shard(tmp_path / "rocks", rows=15).close()
    with (
        Collection(tmp_path / "rocks", "r+") as many,
        workers(address=cluster.scheduler_address),
        distributed.Client(cluster) as client,
    ):
        model.fit(many)
        pd.testing.assert_frame_equal(model.predict(keys), expected, check_exact=True)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
        pd.testing.assert_frame_equal(model.predict(keys), expected, check_exact=True)


def test_failures_are_retried_and_named_and_dead_workers_replaced(tmp_path, cluster):
    with (
        distributed.Client(cluster) as client,
        joblib.parallel_config("dask", client=client),
    ):
        assert map_shards(threads_of, [(0,)], desc="counting") == ([1], {})
        tasks = [(tmp_path, i) for i in range(7)]
        found, failed = map_shards(fails_twice, tasks, desc="failing")
        assert found == [0, 1, 2, 3, None, None, 6]
        assert failed == {4: "two lines", 5: "out of memory"}
    (tmp_path / "dying").mkdir()
    with workers(address=cluster.scheduler_address):
        tasks = [(tmp_path / "dying", i, 1) for i in range(6)]
        assert map_shards(dies, tasks, desc="dying") == (list(range(6)), {})


def test_other_versions_on_a_worker_are_one_line(cluster, monkeypatch):
    asked = maps.versions() | {"numpy": "0.9"}
    monkeypatch.setattr(maps, "versions", lambda: asked)
    with (
        workers(address=cluster.scheduler_address),
        pytest.raises(ValueError, match=r"instead of 0\.9; install the same versions"),
    ):
        map_shards(threads_of, [(0,)], desc="counting")


TLS = "tls://127.0.0.1:9"


def wait(x):
    time.sleep(60)


def test_a_scheduler_that_goes_away_or_was_never_there_is_one_line(
    tmp_path, monkeypatch, caplog
):
    # As outside of tests: `distributed` would log pages.
    monkeypatch.setattr(
        logging.getLogger("distributed.client"), "level", logging.WARNING
    )
    monkeypatch.setattr(logging.getLogger("distributed.client"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("distributed"), "propagate", True)
    monkeypatch.setattr(maps, "_MOST_SECONDS", 3)
    with (
        pytest.raises(ConnectionError, match="No Dask scheduler answers"),
        workers(address="tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(ValueError, match="needs certificates"), workers(None, TLS):
        pass
    code = (
        "import distributed, time\n"
        "if __name__ == '__main__':\n"
        "    c = distributed.LocalCluster(n_workers=1, threads_per_worker=1,"
        " dashboard_address=None, processes=False, protocol='tcp')\n"
        "    print(c.scheduler_address, flush=True)\n"
        "    time.sleep(120)\n"
    )
    program = tmp_path / "scheduler.py"
    program.write_text(code)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, env=env, text=True
    ) as process:
        address = process.stdout.readline().strip()
        try:
            with (
                pytest.raises(ConnectionError, match="went away"),
                workers(address=address),
            ):
                threading.Timer(2, process.send_signal, [signal.SIGKILL]).start()
                map_shards(wait, [(0,), (1,)], desc="waiting")
            told = [
                record for record in caplog.records if record.levelno > logging.INFO
            ]
            assert not told
            assert logging.getLogger("distributed.client").level == logging.WARNING
        finally:
            process.kill()
