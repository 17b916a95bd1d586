"""A map over shards, by joblib or Dask: what fails is tried again, then named."""

import contextlib
import errno
import functools
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import h5py
import numpy as np
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.cloudpickle_wrapper import dumps, loads
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from ..files import OF_WRITING, atomic_path, listening, progress

ATTEMPTS = 3
_ADDRESS = re.compile(r"(?:[a-z]+://)?[\w.\-\[\]:]{1,255}:\d{1,5}")
_MOST_PARCEL_BYTES = 100_000
_MOST_SECONDS = 10  # until a scheduler answers
MOST_TASK_BYTES = 1_000_000
_MOST_PIPED_BYTES = 8_192  # of a result that is sent at once
_SECONDS_BETWEEN_LOOKS = 1  # of a worker, at the process that started it
_PACKAGES = ("geoimages", "numpy", "h5py", "pillow", "simplejpeg", "scikit-learn")


class VersionsDifferError(ValueError):
    """A worker that has other versions than the client."""


def versions():
    """Versions that results may depend on: dict of str."""
    out = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "none"
    return out | {"HDF5": h5py.version.hdf5_version, "NumPy": np.__version__}


def _check_versions(expected):
    """Raise a VersionsDifferError where this worker is not like the client."""
    own = versions()
    others = [
        f"{name} {own.get(name, 'none')} instead of {asked}"
        for name, asked in expected.items()
        if own.get(name) != asked
    ]
    if others:
        raise VersionsDifferError(
            f"The worker {platform.node()} has {', '.join(others)}; install the same "
            "versions on all machines."
        )


def _silent(*told):
    """Show no progress within a task."""


def _guarded(function, task, expected):
    """Run a task on a worker, on one thread: (error or None, its result)."""
    try:
        _check_versions(expected)
        with listening(_silent), threadpool_limits(1):
            return None, function(*task)
    except Exception as error:  # which the client names, once all others are done
        fatal = isinstance(error, VersionsDifferError)
        fatal |= isinstance(error, BlockingIOError)
        fatal |= isinstance(error, OSError) and error.errno in OF_WRITING - {errno.EIO}
        return (type(error), _told(error), getattr(error, "errno", None), fatal), None


def _told(error):
    """One line that says what went wrong."""
    if isinstance(error, MemoryError):
        return "out of memory"
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


class Parcel:
    """A value that many tasks need, in a file where it is large.

    Parameters
    ----------
    value : object
        Such as a fitted transformer.
    folder : Path
        Where a file of it would lie, in reach of all workers.
    """

    def __init__(self, value, folder):
        data, self.path = dumps(value), None
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.data = data
        if len(data) > _MOST_PARCEL_BYTES:
            # Not its hash alone: another run may send the same, and be done first.
            name = f".{self.sha256[:16]}.parcel.{secrets.token_hex(4)}.part"
            self.path = Path(os.path.abspath(folder)) / name
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(data)
            self.data = None

    def open(self):
        """The value, on a worker; of a file only if it is what was sent."""
        data = self.data
        if self.path is not None:
            data = self.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != self.sha256:
                raise ValueError(f"{self.path} is not what was sent.")
        return loads(data)

    def remove(self):
        """Delete the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class SharedArray:
    """An array that workers map from a file, while it is open: too large for a task.

    Parameters
    ----------
    array : ndarray
    folder : path-like
        Where the file lies, in reach of all workers.
    """

    def __init__(self, array, folder):
        # What a killed process leaves of it is swept like any unfinished file.
        name = f".shared.npy.{secrets.token_hex(4)}.part"
        self.array, self.path = array, Path(os.path.abspath(folder)) / name

    def __enter__(self):
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            np.save(file, self.array, allow_pickle=False)
        return str(self.path)

    def __exit__(self, *exception):
        self.path.unlink(missing_ok=True)


_WORKERS = ContextVar("workers", default=None)


@contextlib.contextmanager
def workers(n_jobs=None, address=None):
    """Have maps run on some workers, and nothing else that joblib does.

    Parameters
    ----------
    n_jobs : int, optional
        Number of processes on this machine; -1 is one for each core.
    address : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    ImportError
        If dask or distributed is missing.
    ValueError
        If the address is none, or is ``tls://`` and Dask knows no certificates.
    ConnectionError
        If no scheduler answers, or it has no workers.
    """
    with contextlib.ExitStack() as stack:
        how = None
        if address is not None:
            client = stack.enter_context(_connected(address))
            how = {"backend": "dask", "client": client}
        elif n_jobs not in (None, 1):
            how = {"backend": "loky", "n_jobs": n_jobs, "inner_max_num_threads": 1}
        token = _WORKERS.set(how)
        stack.callback(_WORKERS.reset, token)
        yield


@contextlib.contextmanager
def _quiet(*names):
    """Keep the logs of a library, which prints what is told in one line anyway."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _connected(address):
    """Connect to a Dask scheduler."""
    if not _ADDRESS.fullmatch(address):
        raise ValueError(
            f"{address!r} is no address of a Dask scheduler, such as tcp://10.0.0.1:8786."
        )
    try:
        from distributed import Client, Security
    except ImportError as error:
        raise ImportError(
            f"Dask is needed ({error.name} is missing); pip install 'geoimages[dask]'."
        ) from None
    if address.startswith("tls:") and not (
        Security().get_connection_args("client").get("ssl_context")
    ):
        raise ValueError(
            f"{address} needs certificates: name them by DASK_DISTRIBUTED__COMM__TLS__"
            "CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY in the environment."
        )
    try:
        client = Client(address, timeout=_MOST_SECONDS, set_as_default=False)
    except Exception as error:  # an address may be wrong in many ways
        raise ConnectionError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}); start one "
            "with 'dask scheduler', and workers with 'dask worker ADDRESS'."
        ) from None
    with _quiet("distributed", "distributed.client"), client:
        try:
            client.wait_for_workers(1, timeout=_MOST_SECONDS)
        except TimeoutError:
            raise ConnectionError(
                f"The Dask scheduler at {address} has no workers; start some with 'dask "
                f"worker {address}'."
            ) from None
        yield client


class Tasks(Sequence):
    """Tasks that are made when they are asked for.

    Parameters
    ----------
    n : int
        Their number.
    make : callable
        Makes the task of a number.
    """

    def __init__(self, n, make):
        self.n, self.make = n, make

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.make(i)


def map_shards(function, tasks, *, desc, names=None, unit="shard"):
    """Call a function with each task, on the workers of the configured backend.

    The backend is that of `workers`, or joblib's: one process by default, others by
    ``joblib.parallel_config(n_jobs=8)`` or ``joblib.parallel_config("dask")`` with a
    `distributed.Client`. A task is computed on one thread, so that its result does not
    depend on where it is. One that fails, or whose worker dies, is tried three times,
    while the rest goes on.

    Parameters
    ----------
    function : callable
        Of a module, so that workers can import it.
    tasks : sequence of tuple
        Its arguments: paths and small arrays, 1 MB at most, never rows.
    desc : str
        Description for the progress bar.
    names : list of str, optional
        Names of the tasks, such as the shards', for errors.
    unit : str, default="shard"
        What a task is, for the progress bar.

    Returns
    -------
    results : list
        What the function returned, in the order of the tasks; None for those that
        failed.
    failed : dict of int to str
        Why tasks failed three times, by their positions.

    Raises
    ------
    ValueError
        If a task is too large, or a worker has other versions of packages than this
        process.
    ConnectionError
        If the scheduler of Dask went away.
    OSError
        If a disk is full.
    """
    run, how = _Run(function, tasks, names or range(len(tasks))), _WORKERS.get()
    with contextlib.ExitStack() as stack:
        if how is not None:
            stack.enter_context(parallel_config(**how))
        run.bar = stack.enter_context(progress(total=len(tasks), desc=desc, unit=unit))
        while run.waiting:
            run.round()
    return run.results, run.failed


@contextlib.contextmanager
def _quietly_closed(results):
    """End a generator of joblib, which warns where tasks are under way."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


class _Run:
    """The state of a map: results, attempts, and what failed."""

    def __init__(self, function, tasks, names):
        self.function, self.tasks, self.expected = function, tasks, versions()
        self.names, self.unmade = names, None
        self.results, self.failed = [None] * len(tasks), {}
        self.attempts = [0] * len(tasks)
        self.waiting, self.suspects = list(range(len(tasks))), []
        self.bar = None

    def round(self):
        """Run what is waiting once: suspects of having ended a worker each alone."""
        backend, _ = get_active_backend()
        client = getattr(backend, "client", None)
        if client is not None:
            self._by_dask(client, list(self.waiting))
        elif self.suspects:
            for i in list(self.suspects):
                self._by_joblib([i])
        else:
            self._by_joblib(list(self.waiting))

    def _call(self, i):
        """What to call for a task."""
        task = self.tasks[i]
        n_bytes = len(dumps(task))
        if n_bytes > MOST_TASK_BYTES:
            raise ValueError(
                f"The task {self.names[i]} has {n_bytes:,} bytes, at most "
                f"{MOST_TASK_BYTES:,} are sent; workers get paths."
            )
        return self.function, task, self.expected

    def _note(self, i, error, result=None):
        """Note that a task is done, or has failed once more."""
        if error is not None:
            kind, told, number, fatal = error
            if fatal:
                made = kind(told)
                if isinstance(made, OSError):
                    made.errno = number
                raise made
            self.attempts[i] += 1
            if self.attempts[i] < ATTEMPTS:
                return
            self.failed[i] = told
        self.results[i] = result
        self.waiting.remove(i)
        if i in self.suspects:
            self.suspects.remove(i)
        self.bar.update()

    def _by_joblib(self, chosen):
        """Run tasks by joblib; what was under way when a worker died is suspect."""
        begun, done = [], set()

        def feed():
            for i in chosen:
                try:
                    call = self._call(i)
                except Exception as error:  # joblib may ask in a thread, and lose it
                    self.unmade = error
                    return
                begun.append(i)
                yield delayed(_numbered)(i, folder, os.getpid(), *call)

        parallel = Parallel(batch_size=1, return_as="generator_unordered")
        try:
            with (
                tempfile.TemporaryDirectory(prefix="geoimages-") as folder,
                _quietly_closed(parallel(feed())) as results,
            ):
                for i, (error, result) in results:
                    done.add(i)
                    if isinstance(result, _Spilled):
                        result = result.read()
                    self._note(i, error, result)
        except BrokenProcessPool:  # of which loky's is one
            lost = [i for i in begun if i not in done]
            if len(chosen) == 1:
                self._note(chosen[0], _DIED)
            else:
                self.suspects += [i for i in lost if i not in self.suspects]
        if self.unmade is not None:
            raise self.unmade

    def _by_dask(self, client, chosen):
        """Run tasks by Dask, which gives those of a worker that died to others."""
        from distributed import as_completed  # of the extra [dask]

        address = getattr(client.scheduler, "address", "")
        gone = ConnectionError(
            f"The Dask scheduler {address} went away; what is finished is kept: start "
            "it again, and repeat the command."
        )
        try:
            futures = {
                client.submit(_guarded, *self._call(i), pure=False): i for i in chosen
            }
            for future in as_completed(futures, loop=client.loop):
                i = futures[future]
                if future.status == "finished":
                    self._note(i, *future.result())
                elif future.status == "error":
                    failure = _of_dask(future.exception())
                    if failure is _DIED:  # which Dask has tried several times
                        self.attempts[i] = ATTEMPTS - 1
                    self._note(i, failure)
                else:
                    raise gone
                future.release()
        except (OSError, TimeoutError) as error:
            if type(error).__module__.startswith("distributed") or (
                isinstance(error, TimeoutError)
            ):
                raise gone from None
            raise


_TOLD_DIED = "its worker died: killed, or out of memory, of which each needs 2 GB"
_DIED = (RuntimeError, _TOLD_DIED, None, False)


def _of_dask(error):
    """What a failure outside of a task is: (kind, text, errno, whether it ends all)."""
    if type(error).__name__ == "KilledWorker":
        return _DIED
    if isinstance(error, ImportError):
        told = (
            f"A worker cannot import what is needed ({error}); install geoimages there."
        )
        return ImportError, told, None, True
    return RuntimeError, _told(error), None, False


class _Spilled:
    """A large result of another process, in a file.

    A worker that is killed while it writes more than a pipe holds would leave loky
    waiting for the rest for ever.
    """

    def __init__(self, data, folder):
        self.sha256 = hashlib.sha256(data).hexdigest()
        handle, self.path = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)

    def read(self):
        """The result, if the file is what the worker wrote."""
        data = Path(self.path).read_bytes()
        os.unlink(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError(f"{self.path} is not what was written.")
        return loads(data)


_spills = set()  # folders of results, on a worker


def _watch(parent):
    """End this worker once the process that started it is gone, however it ended."""
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    for folder in list(_spills):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


@functools.cache
def _watched(parent):
    """Watch the process that asks this worker, if that has started it."""
    if parent not in (os.getpid(), 1) and os.getppid() == parent:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _numbered(i, folder, asked_by, function, task, expected):
    _watched(asked_by)
    _spills.add(folder)
    error, result = _guarded(function, task, expected)
    if os.getpid() != asked_by:
        data = dumps(result)
        if len(data) > _MOST_PIPED_BYTES:
            result = _Spilled(data, folder)
    return i, (error, result)


def n_workers():
    """Number of workers that a map would have."""
    how = _WORKERS.get()
    with parallel_config(**how) if how else contextlib.nullcontext():
        backend, n_jobs = get_active_backend()
    client = getattr(backend, "client", None)
    if client is not None:
        return max(1, len(client.scheduler_info()["workers"]))
    n_jobs = n_jobs or 1  # None where nothing is configured
    return max(1, n_jobs if n_jobs > 0 else (os.cpu_count() or 1) + 1 + n_jobs)
