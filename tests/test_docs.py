"""What the README says is true: its Python runs, its commands exist."""

import re
import shlex
import zipfile
from pathlib import Path

import pytest

from geoimages import read_image, write_rocks
from geoimages.cli import cli, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch, draw):
    """A folder as the README's reader has it."""
    write_rocks(tmp_path / "rocks.zip", 120, random_state=0)
    draw("photo.jpg", size=(300, 400))
    monkeypatch.chdir(tmp_path)
    return tmp_path


DOCS = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", *(f"docs/{name}" for name in DOCS)]


@pytest.mark.parametrize("page", PAGES)
def test_the_python_lines_run(folder, page):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    namespace = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)
    if page == "README.md":
        assert (folder / "matches.png").stat().st_size > 10_000


def test_the_shell_lines_run(folder, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "l")  # who votes prefers the left
    lines = [
        line
        for kind, text in BLOCKS
        if kind == "sh"
        for line in text.splitlines()
        if line.startswith("geoimages ")
    ]
    assert len(lines) >= 4
    for line in lines:
        argv = shlex.split(line.split("#")[0])[1:]
        assert main(argv) == 0, (line, capsys.readouterr().err)


def test_the_photo_of_the_readme_is_in_the_sample_of_the_demo(tmp_path):
    archive = write_rocks(tmp_path / "rocks.zip", 600, random_state=0, n_damaged=3)
    (name,) = re.findall(r"^cp (\S+) photo\.jpg$", README, re.MULTILINE)
    with zipfile.ZipFile(archive) as opened:
        assert read_image(opened.read(name)).shape == (28, 28, 3)
    assert "source .venv/bin/activate" in README
    assert "cp demo/rocks.zip ." in README


def test_every_command_is_in_the_readme():
    for name in cli.commands:
        assert f"geoimages {name}" in README, name


def test_the_pictures_of_the_readme_are_there():
    paths = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert paths
    for path in paths:
        assert (ROOT / path).is_file(), path
    described = (ROOT / "images/README.md").read_text(encoding="utf-8")
    for path in (ROOT / "images").glob("*.png"):
        assert path.name in described
