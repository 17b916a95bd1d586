"""What the README and the documentation say is true: their code runs, links lead on."""

import ast
import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import zipfile
from graphlib import CycleError
from itertools import chain, repeat
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import geoimages
from geoimages import ConvNetClassifier, Images, read_image, write_rocks
from geoimages.cli import cli, main
from geoimages.pictures.reading import REASONS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
MADE = ("_build", "api", "gallery")  # by the build
PAGES = [
    "README.md",
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in DOCS.rglob("*.md")
        if path.relative_to(DOCS).parts[0] not in MADE
    ),
]
LINKED = [*PAGES, "CONTRIBUTING.md", "benchmarks/README.md", "images/README.md"]
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page, *kinds):
    """The code of a page: [(kind, text)]."""
    return [
        (kind, text) for kind, text in _BLOCK.findall(text_of(page)) if kind in kinds
    ]


@pytest.fixture
def quick(monkeypatch):
    """A classifier that learns from pictures as they are, in a tenth of the time."""
    made = ConvNetClassifier.__init__
    _, layers, augment = made.__defaults__
    assert augment == "default"
    monkeypatch.setattr(made, "__defaults__", (None, layers, None))
    monkeypatch.setitem(made.__kwdefaults__, "max_epochs", 4)


@pytest.fixture
def folder(tmp_path, monkeypatch, draw, quick):
    """A folder as the reader of a page has it."""
    write_rocks(tmp_path / "rocks.zip", 120, random_state=0)
    draw("photo.jpg", size=(300, 400))
    names = [
        f"BH{hole}_{depth:07.2f}.png" for hole in (12, 13) for depth in (123.4, 123.6)
    ]
    for seed, name in enumerate(names):
        draw(f"core/{name}", seed=seed)
    depths = [float(name[5:12]) for name in names]
    rows = [f"{n},{n[:4]},{d},{d + 0.2}" for n, d in zip(names, depths, strict=True)]
    table = "\n".join(["file,hole,depth_from,depth_to", *rows])
    (tmp_path / "core.csv").write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    answers = chain("lrltl", repeat("q"))  # who votes stops after five trials
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    return tmp_path


def run_python(text, page, variables):
    """Run a block as a notebook runs a cell; what it prints and its last line's value."""
    tree = ast.parse(text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, page, "exec"), variables)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), page, "eval"), variables)
            if value is not None:
                print(value)
    return printed.getvalue()


def run_shell(text, monkeypatch):
    """Run the lines of a block, and return what they print."""
    printed = ""
    for line in text.splitlines():
        name, *rest = shlex.split(line, comments=True)
        if name == "geoimages":
            with (
                contextlib.redirect_stdout(io.StringIO()) as out,
                contextlib.redirect_stderr(io.StringIO()) as wrong,
            ):
                code = main(rest)
            assert code == 0, (line, wrong.getvalue())
            printed += out.getvalue()
        elif name == "mkdir":
            Path(*rest).mkdir()
        elif name == "cd":
            monkeypatch.chdir(Path.cwd().joinpath(*rest))
        else:
            assert name == "python", f"the tests know no {name!r}"
            subprocess.run([sys.executable, *rest], check=True)
    return printed


def is_number(word):
    with contextlib.suppress(ValueError):
        return bool(float(word)) or True
    return False


def agrees(printed, promised):
    """Whether a block printed what its page says; ... is anything, and 0.2 is 0.21."""
    words, wanted = printed.split(), promised.split()
    while wanted:
        if wanted[0] == "...":
            wanted = wanted[1:]
            while wanted and words and words[0] != wanted[0]:
                words = words[1:]
            if not wanted:
                return True
            continue
        if not words:
            return False
        same = words[0] == wanted[0]
        if not same and is_number(words[0]) and is_number(wanted[0]):
            same = abs(float(words[0]) - float(wanted[0])) < 0.02
        if not same:
            return False
        words, wanted = words[1:], wanted[1:]
    return not words


def test_what_is_printed_is_compared():
    assert agrees("a 0.25\nb\n", "a 0.26 b")
    assert agrees("a: 3 4\nb: 5", "a: ...\nb: 5")
    assert agrees("a 1 2 3", "a ...")
    assert not agrees("a 0.25", "a 0.5")
    assert not agrees("a b", "a")
    assert not agrees("a", "a b")
    assert not agrees("a: 3\nc: 5", "a: ...\nb: 5")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks_of(page, "python", "sh")]
)
def test_every_code_block_runs(folder, monkeypatch, page):
    kinds = ("python", "output") if page == "README.md" else ("python", "sh", "output")
    variables, printed = {}, ""
    for kind, text in blocks_of(page, *kinds):
        if kind == "output":
            assert agrees(printed, text), f"{page} promises\n{text}\nand got\n{printed}"
        elif kind == "sh":
            printed = run_shell(text, monkeypatch)
        else:
            printed = run_python(text, page, variables)
    if page == "README.md":
        assert (folder / "matches.png").stat().st_size > 10_000


def test_the_shell_lines_of_the_readme_run(folder, monkeypatch):
    lines = [
        line
        for _, text in blocks_of("README.md", "sh")
        for line in text.splitlines()
        if line.startswith("geoimages ")
    ]
    assert len(lines) >= 4
    run_shell("\n".join(lines), monkeypatch)


def test_no_code_hides_from_the_tests():
    known = {"python", "sh", "output", "text"}
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", text_of(page), re.MULTILINE)
        for fence in fences[::2]:  # each has an end
            assert fence in known or fence.startswith("{"), (page, fence)


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


def test_the_pictures_of_the_readme_are_described():
    described = text_of("images/README.md")
    for path in (ROOT / "images").glob("*.png"):
        assert path.name in described


def anchors_of(page):
    """The anchors of a page's headings, as code hosts and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", text_of(page)), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*_]", r"\1", name) for name in headings]
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in plain}


def links_of(page):
    """The targets of a page's links and pictures."""
    text = _FENCED.sub("", text_of(page))
    return re.findall(r"\]\(([^()\s]+)\)", text)


def source_of(path):
    """The file that a page of the gallery is made from; else the path itself."""
    folder = DOCS / "gallery"
    if not path.is_relative_to(folder):
        return path
    if path.name == "index.rst":
        return DOCS / "examples" / "README.txt"
    return DOCS / "examples" / path.relative_to(folder).with_suffix(".py")


@pytest.mark.parametrize("page", LINKED)
def test_links_lead_somewhere(page):
    for target in links_of(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        path = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert source_of(path).is_file(), f"{page} links {target}, which is not there"
        if anchor:
            there = path.relative_to(ROOT).as_posix()
            assert anchor in anchors_of(there), (
                f"{page} links {target}: no such heading"
            )


def test_links_are_found():
    assert "sure.md" in links_of("docs/start.md")
    assert "in-a-notebook" in anchors_of("docs/start.md")
    assert len(links_of("docs/index.md")) > 10


def reference():
    """The names in the reference, by module: {module: names}."""
    names, module, listing = {}, None, False
    for path in (DOCS / "reference").glob("*.rst"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule::"):
                module = line.split()[-1]
            elif line.startswith(".. autosummary::"):
                listing = True
            elif line and not line.startswith(" "):
                listing = False
            elif listing and line.strip() and ":" not in line:
                names.setdefault(module, []).append(line.strip())
    return names


def test_every_public_name_is_in_the_reference():
    names = reference()
    assert sorted(names["geoimages"]) == sorted(geoimages.__all__)
    told = {"METRICS", "similarity_from_distance"}  # a table, and in geoimages itself
    assert set(names["geoimages.search"]) == set(geoimages.search.__all__) - told
    told = set(geoimages.__all__)
    assert set(names["geoimages.voting"]) == set(geoimages.voting.__all__) - told
    told.add("DISTURBANCES")
    assert set(names["geoimages.evaluate"]) == set(geoimages.evaluate.__all__) - told


def test_every_reason_is_told():
    page = text_of("docs/pictures.md")
    of_sources = ("unreadable", "damaged", "encrypted", "nested-archive")
    others = ("other-size", "not-sampled", "duplicate-key", "linked-folder")
    for reason in (*REASONS, *of_sources, *others):
        assert f"`{reason}`" in page, reason


def test_every_old_call_is_told():
    page = text_of("docs/original.md")
    calls = [name for name in vars(Images) if not name.startswith("_")]
    calls += ["categorical_to_onehot", "model_inertias", "elbow_plot", "plot_matches"]
    for name in calls:
        assert f"{name}(" in page or f"`{name}`" in page, name


def house():
    """The module that draws the house."""
    spec = importlib.util.spec_from_file_location("house", DOCS / "_ext" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_house_stands():
    """No circle between rooms, none grows past what a reader takes in, no face below."""
    drawn = house()
    floors = drawn.floors()  # refuses a circle
    assert len(floors) <= 24
    assert max(floors.values()) <= 10
    below = {room for room in floors if floors[room] < floors["visualize"]}
    assert {"pictures", "features", "search", "similarity", "neural"} <= below
    for room, others in drawn.imports().items():
        if room not in drawn.OUTSIDE:
            assert not others & {*drawn.OUTSIDE}
        if room != "docs":
            assert "cli" not in others, room
        if room not in ("cli", *drawn.OUTSIDE):
            assert "__init__" not in others, room


def test_a_circle_between_rooms_is_found(tmp_path, monkeypatch):
    drawn = house()
    monkeypatch.setattr(drawn, "ROOT", tmp_path)
    monkeypatch.setattr(drawn, "PACKAGE", tmp_path / "geoimages")
    (tmp_path / "geoimages" / "search").mkdir(parents=True)
    for name in ("__init__.py", "search/__init__.py", "files.py"):
        (tmp_path / "geoimages" / name).touch()
    (tmp_path / "geoimages" / "__init__.pyi").write_text("from .etl import a as a")
    (tmp_path / "geoimages" / "etl.py").write_text("from .search import exact")
    exact = tmp_path / "geoimages" / "search" / "exact.py"
    exact.write_text("from .. import files\nfrom .scans import b")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "conf.py").write_text("from geoimages import a")
    floors = {"files": 1, "search": 2, "etl": 3, "__init__": 4, "docs": 5}
    assert drawn.floors() | floors == drawn.floors()
    exact.write_text("def find():\n    from ..etl import Images")
    with pytest.raises(CycleError, match="'search', 'etl'|'etl', 'search'"):
        drawn.floors()


def test_the_house_is_drawn():
    drawn = house()
    picture = drawn.draw()
    for room in set(drawn.floors()) - set(drawn.OUTSIDE):
        assert f">{room}/<" in picture or f">{room}.py<" in picture
    assert picture.count("<circle") == len(drawn.ADDITIONS)
    assert picture.count('class="waist"') == len(drawn.WAISTS) == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_gallery_runs(path, tmp_path, monkeypatch, quick, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    try:
        runpy.run_path(str(path))
    finally:
        plt.close("all")
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert re.match(r".+\n=+\n\n\w", told)


def test_the_citation_is_of_this_version():
    lines = text_of("CITATION.cff").splitlines()
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert f"version: {project['version']}" in lines
    assert f"license: {project['license']}" in lines
    assert f"  - name: {project['authors'][0]['name']}" in lines
    assert f"version {project['version']}" in README
