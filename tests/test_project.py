"""pip and conda install the same; what the project ships is small."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_names_the_same_dependencies():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    listed = {
        match[1]
        for line in lines
        if (match := re.match(r"\s+- ([\w-]+[<>=][^\s]*)", line))
    }
    wanted = set(PROJECT["dependencies"]) | {f"python{PROJECT['requires-python']}"}
    opens = [
        line
        for line in PROJECT["optional-dependencies"]["notebooks"]
        if line.startswith("jupyterlab>=")
    ]
    assert len(opens) == 1
    assert listed == wanted | set(opens)


def test_setup_py_is_two_lines():
    lines = (ROOT / "setup.py").read_text().split("\n")
    assert [line for line in lines if line] == [
        "from setuptools import setup",
        "setup()",
    ]


def test_the_changelog_names_the_version():
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_pictures_are_small():
    for path in (ROOT / "images").iterdir():
        assert path.stat().st_size < 400_000, path
