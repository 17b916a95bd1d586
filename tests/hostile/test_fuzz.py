"""The fuzzer, in short: `make fuzz` runs it for minutes."""

import os

import fuzz
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits are those of POSIX")


@pytest.fixture(scope="module")
def reader():
    reader = fuzz.start()
    yield reader
    reader.close()


@pytest.mark.parametrize("kind", fuzz.READERS)
def test_mutated_files_are_read_or_refused(reader, kind):
    n_files = {"picture": 100, "collection": 8}.get(kind, 20)
    counts, faults, _ = fuzz.fuzz(reader, kind, seconds=4, seed=1, n_files=n_files)
    assert faults == []
    assert counts["kept"] + counts["refused"] == counts.total() > 0


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("raise ZeroDivisionError", "error"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crash"),
        ("bytearray(1 << 33)", "error"),
        ("while True: pass", "hang"),
    ],
)
def test_a_fault_is_found(tmp_path, program, fault):
    """Else no test of this folder could fail."""
    path = tmp_path / "reader.py"
    path.write_text(
        "import sys, traceback\n"
        f"sys.path[:0] = [{os.path.dirname(fuzz.__file__)!r}]\n"
        "from children import limit_memory, serve\n"
        "def answer(question):\n"
        "    try:\n"
        f"        {program}\n"
        "    except BaseException:\n"
        "        return {'fault': 'error'}\n"
        "    return {'outcome': 'kept'}\n"
        "limit_memory()\n"
        "serve(answer)\n"
    )
    child = fuzz.Child(str(path), seconds=1)
    try:
        told, _ = child.ask("x")
        assert told["fault"] == fault
    finally:
        child.close()
