"""Work that takes longer than a request: done once, in the background, with progress."""

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from ..files import listening

_MOST_KEPT = 12  # results of tasks; the least recently used go first


class Preparing(Exception):
    """A result is not there yet.

    Parameters
    ----------
    stage : str
        What is being done.
    fraction : float or None
        How much of it is done, 0 to 1, if known.
    """

    def __init__(self, stage, fraction=None):
        super().__init__(stage)
        self.stage, self.fraction = stage, fraction


class Tasks:
    """Results by name; a missing one is computed by one thread, in order of asking."""

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="geoimages")
        self._futures, self._told = OrderedDict(), {}
        self._lock = threading.Lock()

    def get(self, name, title, function, *args):
        """Return a result, or raise `Preparing`, or the error that there was.

        Parameters
        ----------
        name : hashable
            Names the result.
        title : str
            What a person reads meanwhile.
        function, *args
            What computes it. A task that failed is tried again when it is asked for
            the next time.
        """
        with self._lock:
            future = self._futures.get(name)
            if future is None:
                self._told[name] = title, None
                future = self._pool.submit(self._run, name, title, function, *args)
                self._futures[name] = future
                self._forget()
            self._futures.move_to_end(name)
            told = self._told.get(name, (title, None))
        if not future.done():
            raise Preparing(*told)
        if future.exception() is not None:
            with self._lock:
                self._futures.pop(name, None)
        return future.result()

    def peek(self, name):
        """Return a result that is there, or None."""
        future = self._futures.get(name)
        there = future is not None and future.done() and future.exception() is None
        return future.result() if there else None

    def close(self):
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, name, title, function, *args):
        def tell(task, done, total):
            self._told[name] = f"{title}: {task}", done / total if total else None

        with listening(tell):
            return function(*args)

    def _forget(self):
        done = [name for name, future in self._futures.items() if future.done()]
        for name in done[: max(0, len(self._futures) - _MOST_KEPT)]:
            del self._futures[name]
            self._told.pop(name, None)
