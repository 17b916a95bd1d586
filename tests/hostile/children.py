"""Processes that open hostile files within limits, and can be ended."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time

MEMORY_BYTES = 4 << 30


def limit_memory(n_bytes=MEMORY_BYTES):
    """Cap the address space of this process; no core files."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Child:
    """A Python program that answers a line of JSON for each line of JSON.

    Parameters
    ----------
    *args : str
        The program and its arguments.
    seconds : float
        Most that an answer may take, on a machine with nothing else to do.
    """

    def __init__(self, *args, seconds=10):
        self.args, self.seconds = args, seconds
        self.process = None

    def _start(self):
        self.process = subprocess.Popen(
            [sys.executable, *self.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._answer(120)  # that it is ready

    def _cpu_seconds(self):
        import psutil

        try:
            of = psutil.Process(self.process.pid)
            times = [p.cpu_times() for p in [of, *of.children(recursive=True)]]
            return sum(t.user + t.system for t in times)
        except psutil.Error:
            return 0.0

    def _answer(self, seconds):
        """Wait for a line: None if the process ended, TimeoutError if it hangs."""
        begin, n_waits = self._cpu_seconds(), 0
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            if ready:
                line = self.process.stdout.readline()
                return json.loads(line) if line else None
            n_waits += 1
            # Another process may have had the processor meanwhile.
            if n_waits >= 4 or self._cpu_seconds() - begin >= seconds:
                raise TimeoutError

    def ask(self, question):
        """Return the answer, {"fault": "crash"} or {"fault": "hang"}, and the seconds."""
        if self.process is None:
            self._start()
        begin = time.perf_counter()
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer(self.seconds)
        except TimeoutError:
            self.close()
            answer = {"fault": "hang"}
        except BrokenPipeError:
            answer = None
        if answer is None:
            answer = {"fault": "crash", "code": self.process.wait()}
            self.close()
        return answer, time.perf_counter() - begin

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def serve(answer):
    """Answer questions until the end: the other side of a `Child`."""
    sys.stdout.write('"ready"\n')
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        os.write(out, json.dumps(answer(json.loads(line))).encode() + b"\n")
