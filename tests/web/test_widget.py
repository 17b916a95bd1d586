"""The explorer of notebooks, alone and in a browser."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest

from geoimages import (
    Collection,
    PairwiseModel,
    RockFeatures,
    blind_trials,
    record_votes,
)

widget = pytest.importorskip("geoimages.web.widget", reason="anywidget is missing")


@pytest.fixture(scope="module")
def rocks(made):
    with Collection(made / "rocks.h5") as collection:
        yield collection


@pytest.fixture(scope="module")
def model(rocks):
    return PairwiseModel(6, features=RockFeatures()).fit(rocks)


@pytest.fixture
def votes(rocks, model, tmp_path):
    pixels = PairwiseModel(6).fit(rocks)
    trials = blind_trials(
        {"rock": model, "pixels": pixels}, rocks.keys[:8].tolist(), random_state=0
    )
    return record_votes(tmp_path / "rocks.votes", trials)


def reply(explorer, **content):
    """What the explorer answers to its widget."""
    said = []
    explorer.send = said.append
    explorer._reply(explorer, {"id": 1, **content}, [])
    return said[0]


def test_a_question_gives_the_ranked_table(rocks, model):
    explorer = rocks.explorer(model)
    explorer.query = str(rocks.keys[7])
    expected = model.predict(rocks.keys[7], explain=True)
    assert explorer.matches.index.equals(expected.index)
    assert explorer.selected == [rocks.keys[7]]
    assert [row["key"] for row in explorer.answer["matches"]] == expected.index.tolist()
    assert explorer.answer["matches"][0]["src"].startswith("data:image/png;base64,")
    assert len(np.frombuffer(explorer.points, "<f4")) == 2 * len(rocks)
    assert reply(explorer, kind="open", position=3) == {"id": 1, "result": None}
    assert explorer.query == rocks.keys[3]


def test_a_lasso_gives_keys(rocks, model):
    explorer = rocks.explorer(model, color="hole")
    said = reply(explorer, kind="select", positions=[5, 3])
    assert explorer.selected == rocks.keys[[5, 3]].tolist()
    assert [row["position"] for row in said["result"]] == [5, 3]
    assert explorer.column["names"] == ["BH1", "BH2", "BH3"]
    for wrong in (
        {"kind": "select", "positions": [60]},
        {"kind": "open"},
        {"kind": "x"},
    ):
        assert set(reply(explorer, **wrong)) == {"id", "error"}
    assert explorer.selected == rocks.keys[[5, 3]].tolist()


def test_votes_are_recorded(rocks, model, votes):
    explorer = rocks.explorer(model, votes=votes.path, voter="ada")
    trial = reply(explorer, kind="trial")["result"]
    assert not {"left_model", "right_model"} & set(trial)
    left = reply(explorer, kind="vote", trial=trial["name"], choice="left", seconds=1.0)
    assert left["result"]["pending"] == trial["pending"] - 1
    assert votes.table["choice"].tolist() == ["left"]
    assert "error" in reply(rocks.explorer(model), kind="trial")


def test_a_model_of_other_pictures_is_refused(rocks, model, pictures, tmp_path):
    other = PairwiseModel().fit(pictures[0])
    with pytest.raises(ValueError, match="fitted on other pictures"):
        rocks.explorer(other)
    explorer = rocks.explorer(PairwiseModel(3))  # which is fitted here
    explorer.query = str(rocks.keys[0])
    assert len(explorer.matches) == 3


def test_without_anywidget_one_line_names_the_extra(rocks, model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "geoimages.web.widget", None)
    with pytest.raises(ImportError, match=r"pip install 'geoimages\[notebooks\]'"):
        rocks.explorer(model)


FRONT = """async () => {
  const { default: explorer } = await import("/widget.js");
  const listeners = {};
  const model = {
    get: (name) => model.state[name],
    on: (names, call) => {
      for (const name of names.split(" ")) (listeners[name] ??= []).push(call);
    },
    off: () => {},
    send: async (content) => {
      const { said, answer } = JSON.parse(await window.toPython(JSON.stringify(content)));
      model.state.answer = answer;
      if (content.kind === "open") listeners["change:answer"].forEach((call) => call());
      for (const call of listeners["msg:custom"]) call(said);
    },
  };
  const state = JSON.parse(await window.toPython(""));
  state.points = new DataView(Float32Array.from(state.points).buffer);
  model.state = state;
  explorer.render({ model, el: document.querySelector("#cell") });
}"""


def test_the_widget_asks_selects_and_votes(open_tab, faults, rocks, model, votes):
    explorer = rocks.explorer(model, votes=votes.path)
    said = []
    explorer.send = said.append

    def to_python(text):
        if not text:
            state = {name: getattr(explorer, name) for name in ("column", "shape")}
            points = np.frombuffer(explorer.points, "<f4").tolist()
            return json.dumps(state | {"points": points, "trials": True, "answer": {}})
        explorer._reply(explorer, json.loads(text), [])
        return json.dumps({"said": said[-1], "answer": explorer.answer})

    tab = open_tab("about:blank")
    files = {"/widget.js": widget.module(), "/style.css": widget.style()}
    html = "<html lang=en><title>Notebook</title><link rel=stylesheet href=/style.css>"
    html += "<main><div id=cell></div><h1>Outside</h1></main>"

    def fulfill(route):
        path = "/" + route.request.url.partition("//")[2].partition("/")[2]
        kind = {"js": "text/javascript", "css": "text/css"}.get(path[-3:].strip("."))
        route.fulfill(body=files.get(path, html), content_type=kind or "text/html")

    tab.route("http://127.0.0.1:1/**", fulfill)
    tab.expose_function("toPython", to_python)
    tab.goto("http://127.0.0.1:1/")
    size = "getComputedStyle(document.querySelector('h1')).fontSize"
    assert tab.evaluate(size) == "32px"  # what lies outside keeps its style
    tab.evaluate(FRONT)
    tab.click("text=Lasso")
    box = tab.locator(".map").bounding_box()
    for i, (x, y) in enumerate(
        [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    ):
        tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if not i:
            tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_selector(".matches button")
    assert len(explorer.selected) == 60
    tab.click(".matches li:nth-child(2) button")
    tab.wait_for_selector(".matches .shares")
    assert explorer.query == rocks.keys[1]
    assert tab.locator(".matches a").count() == 6
    assert not faults(tab)
    tab.click("text=Vote blindly")
    tab.wait_for_selector("button:text-is('Right')")
    assert not faults(tab)
    tab.click("button:text-is('Right')")
    tab.wait_for_timeout(300)
    assert votes.table["choice"].tolist() == ["right"]


CELLS = (
    """from geoimages import Collection, PairwiseModel, RockFeatures, make_rocks
rocks = Collection.from_arrays("rocks.h5", *make_rocks(60, random_state=0))
explorer = rocks.explorer(PairwiseModel(6, features=RockFeatures()).fit(rocks))
explorer""",
    """print("chosen", len(explorer.selected), explorer.query)""",
)


@pytest.fixture
def lab(tmp_path):
    """The address of a notebook in a JupyterLab that knows nothing of this machine's."""
    pytest.importorskip("jupyterlab")
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.v4.new_notebook(
        cells=list(map(nbformat.v4.new_code_cell, CELLS))
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, work / "explore.ipynb")
    places = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
    )
    places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        f"--port={port}",
        "--no-browser",
        "--allow-root",
        f"--notebook-dir={work}",
    ]
    options += ["--IdentityProvider.token=abc", "--LabApp.news_url=None"]
    with open(tmp_path / "lab.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=os.environ | {name: str(tmp_path / name) for name in places},
            stderr=log,
            stdout=log,
        )
    for _ in range(600):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/lab/tree/explore.ipynb?token=abc&reset"
    server.terminate()
    server.wait()


def test_it_works_in_jupyterlab(open_tab, lab):
    tab = open_tab(lab, viewport={"width": 1300, "height": 1100})
    tab.set_default_timeout(120_000)
    tab.wait_for_selector(".jp-Notebook .jp-CodeCell")
    tab.wait_for_selector("text=| Idle")
    tab.keyboard.press("Escape")
    tab.click(".jp-CodeCell >> nth=0")
    tab.keyboard.press("Shift+Enter")
    tab.wait_for_selector(".geoimages-explorer .map canvas")
    tab.click(".geoimages-explorer >> text=Lasso")
    box = tab.locator(".geoimages-explorer .map").bounding_box()
    for i, (x, y) in enumerate(
        [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    ):
        tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if not i:
            tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_selector(".geoimages-explorer .matches button")
    tab.click(".jp-CodeCell >> nth=1")
    tab.keyboard.press("Shift+Enter")
    tab.wait_for_selector("text=chosen 60")
    tab.click(".geoimages-explorer .matches li:nth-child(2) button")
    tab.wait_for_selector(".geoimages-explorer .shares")
