"""The parts of the page: small, readable, from this machine only."""

import re
import subprocess
import sys
import threading
import time
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from geoimages.web.labels import LabelFile
from geoimages.web.tasks import Preparing, Tasks

ROOT = Path(__file__).parents[2]
WEB = ROOT / "geoimages" / "web"
FILES = sorted([*(WEB / "static").iterdir(), *(WEB / "templates").iterdir()])


def test_the_files_of_the_page_are_small():
    assert sum(path.stat().st_size for path in FILES) < 200_000


def test_nothing_is_fetched_from_elsewhere():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|[\"'(]//", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]* src=)|\son\w+=|\sstyle=", text)


def packages_of(lines):
    """The packages that requirements bring, with those that they need in turn."""
    found, todo = set(), list(lines)
    while todo:
        need = Requirement(todo.pop())
        name = canonicalize_name(need.name)
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        todo += requires(name) or []
    return found


def test_the_extra_is_small():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = packages_of(project["dependencies"])
    more = packages_of(project["optional-dependencies"]["web"]) - core
    assert {"starlette", "uvicorn", "jinja2"} <= more
    assert len(more) <= 10
    n_bytes = sum(
        path.locate().stat().st_size
        for package in more
        for path in distribution(package).files
        if path.suffix != ".pyc" and path.locate().is_file()
    )
    assert n_bytes < 8_000_000
    assert not {"python-multipart", "torch"} & more


def test_no_answer_waits_for_what_draws():
    code = "import sys, geoimages.web.app, geoimages.web.desk; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"matplotlib", "skops"} & set(told.stdout.split())


def wait_for(task):
    for _ in range(500):
        try:
            return task()
        except Preparing:
            time.sleep(0.01)
    raise AssertionError("it was never done")


def test_a_task_is_done_once_and_a_failed_one_again():
    tasks, calls, go = Tasks(), [], threading.Event()

    def work(value):
        go.wait(10)
        calls.append(value)
        return value * 2

    with pytest.raises(Preparing, match="Doubling"):
        tasks.get("a", "Doubling", work, 3)
    go.set()
    assert wait_for(lambda: tasks.get("a", "Doubling", work, 3)) == 6
    assert tasks.get("a", "Doubling", work, 4) == 6
    assert calls == [3]

    def fail():
        calls.append("fail")
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            wait_for(lambda: tasks.get("b", "Failing", fail))
    assert calls == [3, "fail", "fail"]
    for i in range(30):
        wait_for(lambda i=i: tasks.get(i, "More", int, i))
    assert len(tasks._futures) < 20
    tasks.close()


def test_labels_are_undone_by_who_gave_them(tmp_path):
    file = LabelFile(tmp_path / "rocks.labels.csv")
    assert file.read() == {}
    file.put(["a", "b"], "marble", "ada")
    file.put(["b"], "=gneiss", "bo")
    file.put(["c"], "schist", "ada")
    assert file.read() == {"a": "marble", "b": "=gneiss", "c": "schist"}
    assert "'=gneiss" in file.path.read_text(encoding="utf-8")
    assert file.undo("ada") == ["c"]
    assert file.undo("bo") == ["b"]
    assert file.read() == {"a": "marble", "b": "marble"}
    assert file.undo("ada") == ["a", "b"]
    assert file.undo("ada") == []
    assert file.read() == {}
    for label in ("", " ", "x" * 101, "\x1b[31m", "\ud800"):
        with pytest.raises(ValueError, match="1 to 100 characters"):
            file.put(["a"], label, "ada")
