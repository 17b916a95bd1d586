"""The notebooks run from a fresh kernel, and what is committed is what they show."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", exc_type=ImportError)
nbformat = pytest.importorskip("nbformat", exc_type=ImportError)
nbclient = pytest.importorskip("nbclient", exc_type=ImportError)
pytest.importorskip("ipykernel", exc_type=ImportError)
pytest.importorskip("ipywidgets", exc_type=ImportError)  # for the progress bars

FOLDER = Path(__file__).parent.parent / "notebooks"
SPEC = importlib.util.spec_from_file_location(
    "notebooks_execute", FOLDER / "execute.py"
)
notebooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebooks)

every_notebook = pytest.mark.parametrize("name", notebooks.NAMES)


def committed(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def kinds(notebook):
    """What kinds of output each cell has."""
    return [
        [sorted(output.get("data", [output.get("name")])) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def of_cells(*sources):
    """A notebook of code cells."""
    notebook = notebooks.read_source(notebooks.NAMES[0])
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def test_every_notebook_is_executed():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"execute"}
    assert scripts == set(notebooks.NAMES)
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(notebooks.NAMES)


@every_notebook
def test_it_runs_and_shows_what_is_committed(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOIMAGES_DATA", "nowhere")  # the drawn sample does not use it
    notebook = notebooks.read_source(name)
    notebooks.execute(notebook, tmp_path)
    assert kinds(notebook) == kinds(committed(name))
    assert {path.name for path in tmp_path.iterdir()} == {"work"}


@every_notebook
def test_script_and_notebook_are_in_step(name):
    shown = committed(name)
    source = notebooks.read_source(name)
    assert [(c.id, c.cell_type, c.source) for c in shown.cells] == [
        (c.id, c.cell_type, c.source) for c in source.cells
    ]
    config = jupytext.config.load_jupytext_config(str(FOLDER / f"{name}.ipynb"))
    script = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert jupytext.writes(shown, fmt="py:percent", config=config) == script


@every_notebook
def test_cells_call_the_package(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    own = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in ast.walk(tree) if isinstance(node, own)]
    imported = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert "geoimages" in imported


@every_notebook
def test_it_tells_a_story(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8").replace("\n# ", " ")
    for part in ("**Question.**", "**Data.**", "**Result.**", "`GEOIMAGES_DATA`"):
        assert part in text
    figures = sum(
        "image/png" in kind for cell in kinds(committed(name)) for kind in cell
    )
    assert figures >= 1
    assert text.count("**What the figure shows.**") == figures


def test_they_are_small_and_carry_nothing_that_changes_by_itself():
    paths = [FOLDER / f"{name}.ipynb" for name in notebooks.NAMES]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
        assert "version" not in notebook["metadata"]["language_info"]
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        counts = [cell["execution_count"] for cell in code]
        assert counts == list(range(1, len(code) + 1))
        assert not any(cell["metadata"] for cell in notebook["cells"])


def test_warnings_are_errors(tmp_path):
    notebook = of_cells("import warnings", "warnings.warn('old')")
    with pytest.raises(
        nbclient.exceptions.CellExecutionError, match=r"UserWarning.*old"
    ):
        notebooks.execute(notebook, tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; print('careful', file=sys.stderr)", "wrote to stderr"),
        ("from pathlib import Path; print(Path('x').resolve())", "A cell shows"),
        ("object()", "A cell shows ' at 0x"),
    ],
)
def test_what_no_reader_should_see_is_an_error(tmp_path, source, message):
    with pytest.raises(RuntimeError, match=message):
        notebooks.execute(of_cells(source), tmp_path)


def test_a_run_is_written_without_what_changes(tmp_path, monkeypatch, capsys):
    bar = "from tqdm.auto import tqdm\nfor i in tqdm(range(3)):\n    print(i)"
    sources = [bar, "from geoimages import Plots\nPlots.elbow_plot([1, 2], [4, 2])"]
    (tmp_path / "small.py").write_text("# %%\n" + "\n\n# %%\n".join(sources) + "\n")
    monkeypatch.setattr(notebooks, "HERE", tmp_path)
    written = []
    for folder in ("one", "two"):
        notebooks.main(["small", "--output", str(tmp_path / folder)])
        written.append((tmp_path / folder / "small.ipynb").read_bytes())
    assert written[0] == written[1]
    notebook = nbformat.reads(written[0].decode(), as_version=4)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == ["cell-00", "cell-01"]
    (printed,) = notebook.cells[0].outputs
    assert printed.text == "0\n1\n2\n"
    assert "image/png" in notebook.cells[1].outputs[0].data
    assert "small: " in capsys.readouterr().out


def test_one_shows_the_real_archive_and_none_of_its_pictures():
    (name,) = notebooks.ON_ARCHIVE
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert "sample_sheet" not in source
    assert "plot_matches" not in source
    printed = [
        output.text
        for cell in committed(name).cells
        for output in cell.get("outputs", [])
        if "text" in output
    ]
    assert "18,504 training pictures" in printed[0]
    assert "accuracy on 3,965 test pictures: 0.99" in "".join(printed)


def test_the_real_archive_is_not_written_here(capsys):
    with pytest.raises(SystemExit):
        notebooks.main(["--data", "somewhere"])
    assert "shows the drawn sample here" in capsys.readouterr().err
