"""Take the screenshots of docs/page.md and of the README, from drawn rocks.

Run ``python docs/screenshots.py`` after a change of the page, and look at them.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

from geoimages import (
    Collection,
    ConvNetClassifier,
    PairwiseModel,
    RockFeatures,
    blind_trials,
    make_rocks,
    record_votes,
    save,
    write_rocks,
)
from geoimages.web import widget

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "_static" / "page"
PORT = 8790
WIDE, NARROW = (1280, 860), (360, 740)
QUALITY = 86


def prepare(folder):
    """Drawn rocks with holes and depths, a classifier, and a photo of one of them."""
    archive = write_rocks(
        folder / "drawn.zip",
        180,
        image_shape=(160, 160, 3),
        random_state=0,
        n_damaged=3,
    )
    with Collection.create(folder / "plain.h5", archive) as rocks:
        files = rocks.table["source"].tolist()
    rng = np.random.default_rng(0)
    depth = np.round(rng.uniform(0, 120, len(files)), 1)
    table = pd.DataFrame({"file": files})
    table["hole"] = rng.choice(["BH12", "BH13"], len(files))
    table["depth_from"], table["depth_to"] = depth, depth + 0.2
    path = folder / "rocks.h5"
    with Collection.create(path, archive, metadata=table) as rocks:
        images, labels = rocks.x_y()
        model = ConvNetClassifier(augment=None, max_epochs=8, random_state=0)
        save(model.fit(images, labels), folder / "model.skops")
        image = Image.fromarray(np.rot90(images[labels == "gneiss"][7]))
    image.resize((640, 640), Image.Resampling.BICUBIC).save(folder / "photo.jpg")
    return path


def prepare_tiles(folder):
    """Tiles of three drawn photographs, and a rotated part of one of them."""
    photos = folder / "photos"
    photos.mkdir()
    images, _ = make_rocks(6, image_shape=(480, 720, 3), random_state=4)
    for i, image in enumerate(images[:3], 12):
        Image.fromarray(image).save(photos / f"BH12_box_{i}.png")
    part = Image.fromarray(np.rot90(images[1][120:320, 300:500]))
    part.save(folder / "part.jpg", quality=90)
    path = folder / "tiles.h5"
    Collection.from_tiles(path, photos, size=96, keep_all=True).close()
    return path


def serve(path, *options):
    """Start the page in a process of its own, and wait until it is ready."""
    command = [sys.executable, "-m", "geoimages", "serve", str(path), "--no-browser"]
    server = subprocess.Popen([*command, "--port", str(PORT), *map(str, options)])
    wait()
    return server


def wait():
    """Wait until the page is ready."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz"):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError("The page never was ready.")


def take(tab, name):
    """Keep what the tab shows as a JPEG."""
    tab.wait_for_timeout(500)
    tab.mouse.move(0, 0)
    tab.screenshot(path=OUT / f"{name}.jpg", type="jpeg", quality=QUALITY)


def walk(browser, scheme, size, folder, views):
    """Go through the views, and take what is asked for."""
    width, height = size
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}
    )
    tab = context.new_page()
    end = f"{'' if size == WIDE else '-narrow'}{'' if scheme == 'light' else '-dark'}"
    url = f"http://127.0.0.1:{PORT}"
    tab.goto(url)
    tab.wait_for_selector("#samples img")
    take(tab, f"start{end}")
    tab.set_input_files("#file", folder / "photo.jpg")
    tab.wait_for_selector("#matches img")
    take(tab, f"ask{end}")
    if "collection" in views:
        tab.goto(f"{url}/collection")
        tab.wait_for_selector("#ledger table")
        take(tab, f"collection{end}")
    if "map" in views:
        tab.goto(f"{url}/map")
        tab.wait_for_selector("#key span")
        box = tab.locator("#map").bounding_box()
        tab.keyboard.press("l")
        around = [(0.1, 0.55), (0.45, 0.5), (0.5, 0.97), (0.08, 0.97)]
        for i, (x, y) in enumerate(around):
            tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if not i:
                tab.mouse.down()
        tab.mouse.up()
        tab.wait_for_selector("#list img")
        take(tab, f"map{end}")
    if "compare" in views:
        tab.goto(f"{url}/compare")
        tab.wait_for_selector("#draw:visible, #enter:visible")
        if tab.is_visible("#draw"):
            tab.click("#draw button")
        tab.fill("#voter", "Ada")
        tab.click("#enter button")
        tab.wait_for_selector("#left img")
        take(tab, f"compare{end}")
        for key in "2212022":
            number = tab.inner_text("#number")
            tab.keyboard.press(key)
            while tab.inner_text("#number") == number:
                tab.wait_for_timeout(50)
        tab.click("#stop")
        tab.click("#about button")
        tab.wait_for_selector("#shares .interval")
        take(tab, f"verdict{end}")
    if "label" in views:
        tab.goto(f"{url}/label")
        tab.wait_for_selector("#next img")
        take(tab, f"label{end}")
    context.close()


def find_place(browser, scheme, size, folder):
    """Ask where a part of a photograph lies."""
    width, height = size
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}
    )
    tab = context.new_page()
    tab.goto(f"http://127.0.0.1:{PORT}")
    tab.wait_for_selector("#samples img")
    tab.set_input_files("#file", folder / "part.jpg")
    tab.wait_for_selector("#locate:visible")
    tab.click("#locate")
    tab.wait_for_selector("#places canvas")
    tab.click("text=Whole photograph")
    tab.evaluate("document.querySelector('#photos').scrollIntoView()")
    end = f"{'' if size == WIDE else '-narrow'}{'' if scheme == 'light' else '-dark'}"
    take(tab, f"places{end}")
    context.close()


FRONT = """async () => {
  const { default: explorer } = await import("/widget.js");
  const listeners = {}, state = JSON.parse(await window.toPython("{}")).state;
  state.points = new DataView(Float32Array.from(state.points).buffer);
  const model = {
    get: (name) => state[name],
    on: (names, call) => { for (const name of names.split(" ")) listeners[name] = call; },
    off: () => {},
    send: async (content) => {
      const { said, answer } = JSON.parse(await window.toPython(JSON.stringify(content)));
      state.answer = answer;
      if (content.kind === "open") listeners["change:answer"]();
      listeners["msg:custom"](said);
    },
  };
  explorer.render({ model, el: document.querySelector("#cell") });
}"""


def show_widget(browser, path, folder):
    """The widget of a notebook: matches, and a blind trial."""
    with Collection(path) as rocks:
        models = {
            "rock": PairwiseModel(5, features=RockFeatures()).fit(rocks),
            "pixels": PairwiseModel(5).fit(rocks),
        }
        queries = rocks.keys[::20].tolist()
        trials = blind_trials(models, queries, k=5, random_state=0)
        votes = record_votes(folder / "notebook.votes", trials)
        explorer, said = rocks.explorer(models["rock"], votes=votes.path), []
        explorer.send = said.append

        def to_python(text):
            content = json.loads(text)
            if content:
                explorer._reply(explorer, content, [])
                return json.dumps({"said": said[-1], "answer": explorer.answer})
            state = {name: getattr(explorer, name) for name in ("column", "shape")}
            points = np.frombuffer(explorer.points, "<f4").tolist()
            state |= {"points": points, "trials": True, "answer": {}}
            return json.dumps({"state": state})

        tab = browser.new_page(viewport={"width": 1000, "height": 1040})
        files = {"widget.js": widget.module(), "style.css": widget.style()}
        html = "<link rel=stylesheet href=/style.css><div id=cell></div>"
        kinds = {"widget.js": "text/javascript", "style.css": "text/css"}

        def fulfill(route):
            name = route.request.url.rpartition("/")[2]
            route.fulfill(
                body=files.get(name, html), content_type=kinds.get(name, "text/html")
            )

        tab.route("http://127.0.0.1:1/**", fulfill)
        tab.expose_function("toPython", to_python)
        tab.goto("http://127.0.0.1:1/")
        tab.evaluate(FRONT)
        for button, name in ((None, "widget"), ("text=Vote blindly", "widget-vote")):
            if button:
                tab.click(button)
                tab.wait_for_selector(".trial img")
            else:
                box = tab.locator(".map").bounding_box()
                tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 190)
                tab.wait_for_timeout(1500)
            take(tab, name)
        tab.close()


def main():
    """Take all of them."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, tiles = prepare(folder), prepare_tiles(folder)
        looks = [("light", WIDE), ("dark", WIDE), ("light", NARROW)]
        every = ("collection", "map", "compare", "label")
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for collection, options, go in (
                (path, ["--model", folder / "model.skops"], walk),
                (tiles, [], find_place),
            ):
                server = serve(collection, *options)
                try:
                    for scheme, size in looks:
                        more = [every] if go is walk else []
                        go(chromium, scheme, size, folder, *more)
                finally:
                    server.terminate()
                    server.wait()
            show_widget(chromium, path, folder)
    shutil.copy(OUT / "ask.jpg", ROOT / "images" / "page.jpg")
    together("narrow", 8, NARROW)
    together("dark", 2, (WIDE[0] // 2, WIDE[1] // 2))


def together(end, n_columns, size):
    """Put the screenshots whose names have an ending into one picture."""
    files = sorted(OUT.glob(f"*-{end}.jpg"))
    width, height = size[0] + 12, size[1] + 12
    n_rows = -(-len(files) // n_columns)
    strip = Image.new("RGB", (n_columns * width - 12, n_rows * height - 12), "white")
    for i, file in enumerate(files):
        place = i % n_columns * width, i // n_columns * height
        strip.paste(Image.open(file).resize(size, Image.Resampling.LANCZOS), place)
        file.unlink()
    strip.save(OUT / f"{end}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
