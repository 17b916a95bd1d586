"""The page: how soon it is there, its answers beside the library's, and its memory."""

import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from PIL import Image

from geoimages import (
    Collection,
    ConvNetClassifier,
    PairwiseModel,
    RockFeatures,
    load,
    save,
)
from geoimages.workflows import ask, fit_keeping

from .data import archive, temporary

_TURNS = 60
_TOGETHER = 50  # searches, eight at a time
_SEARCHES = 2000  # over which memory is followed
_POINTS = 100_000


class Server:
    """``geoimages serve`` in a process of its own."""

    def __init__(self, path, model):
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "geoimages", "serve", str(path)),
                *("--model", str(model), "--port", "0", "--no-browser"),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1])
        while self.ask("GET", "/healthz")[0] != 200:
            time.sleep(0.02)
        self.seconds = time.perf_counter() - start

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def search(self, picture):
        """Seconds until a picture that is sent is answered."""
        start = time.perf_counter()
        status, _ = self.ask("POST", "/api/ask", picture)
        assert status == 200
        return time.perf_counter() - start

    def memory(self):
        """Memory in use, in MB."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            pages = int(file.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self):
        self.process.terminate()
        self.process.wait()


def _prepare():
    """A collection, a classifier that took a minute to learn, and pictures to send."""
    path = temporary("rocks.h5")
    with Collection.create(path, archive()) as rocks:
        chosen = np.random.default_rng(0).permutation(len(rocks))
        few = chosen[:3000]
        model = ConvNetClassifier(augment=None, max_epochs=4, random_state=0)
        model.fit(rocks[np.sort(few)], rocks.labels[np.sort(few)])
        pictures = []
        for image in rocks[np.sort(chosen[-_TURNS:])]:
            file = BytesIO()
            Image.fromarray(image[::-1, ::-1]).save(file, "JPEG", quality=80)
            pictures.append(file.getvalue())
    save(model, path.with_name("model.skops"))
    return path, path.with_name("model.skops"), pictures


def _frame():
    """Milliseconds of a frame of many points in a browser: median and most."""
    from pathlib import Path

    from playwright.sync_api import sync_playwright

    static = Path(__file__).parents[1] / "geoimages" / "web" / "static"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        # The modules as they are, without a server.
        tab.route(
            "http://map/*",
            lambda route: route.fulfill(
                body=(static / route.request.url.rpartition("/")[2]).read_bytes()
                if route.request.url.endswith(".js")
                else b"<div id='map' style='width:1000px;height:760px'></div>",
                content_type="text/javascript"
                if route.request.url.endswith(".js")
                else "text/html",
            ),
        )
        tab.goto("http://map/")
        frames = tab.evaluate(
            """async (n) => {
              const { Scatter } = await import("/scatter.js");
              const map = new Scatter(document.querySelector("#map"),
                { picture: () => "", onselect: () => {} });
              const points = new Float32Array(2 * n), colors = new Uint32Array(n);
              for (let i = 0; i < n; i += 1) {
                const gauss = () => (Math.random() + Math.random() + Math.random()) / 3;
                points[2 * i] = gauss(); points[2 * i + 1] = gauss();
                colors[i] = 0xff000000 + Math.random() * 0xffffff;
              }
              map.set(points, colors);
              for (let i = 0; i < 50; i += 1) {
                map.move(i % 2 ? 9 : -8, 5);
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
              }
              return map.frames.slice(10);
            }""",
            _POINTS,
        )
        browser.close()
    return statistics.median(frames), max(frames)


class Page:
    """The page beside the library, on this machine."""

    def run(self):
        print("\nThe page beside the library, in turn")
        path, model, pictures = _prepare()
        server = Server(path, model)
        print(f"  first start                    {server.seconds:8.1f} s")
        server.stop()
        server = Server(path, model)
        print(f"  second start                   {server.seconds:8.1f} s")
        try:
            self.compare(server, path, model, pictures)
            self.follow(server, pictures)
        finally:
            server.stop()
        if shutil.which("chromium"):
            median, most = _frame()
            print(
                f"  a frame of {_POINTS:,} points   {median:8.1f} ms, at most {most:.1f}"
            )

    def compare(self, server, path, model, pictures):
        """Time the same questions to the page and to the library."""
        with Collection(path, "r+") as rocks:
            similar = fit_keeping(PairwiseModel(12, features=RockFeatures()), rocks)
            classifier = load(model)
            ours, alone = [], []
            for picture in pictures:
                start = time.perf_counter()
                ask(similar, rocks, picture, classifier=classifier)
                alone.append(time.perf_counter() - start)
                ours.append(server.search(picture))
        page, library = (1e3 * statistics.median(times) for times in (ours, alone))
        more = page - 1.5 * library
        print(f"  a picture, library             {library:8.1f} ms")
        print(f"  a picture, page                {page:8.1f} ms")
        print(
            f"  page / library = {page / library:.2f}; less 1.5 times it {more:.1f} ms"
        )
        with ThreadPoolExecutor(8) as threads:
            times = sorted(threads.map(server.search, pictures[:_TOGETHER]))
        p95 = times[int(0.95 * len(times))]
        print(f"  {_TOGETHER} at once, eight at a time: p95 {p95:8.2f} s")

    def follow(self, server, pictures):
        """Follow the memory over many searches."""
        said = {}
        for start in range(0, _SEARCHES, _TURNS):
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(server.search, pictures))
            said[start + _TURNS] = server.memory()
        first, *_, last = said.values()
        half = said[min(said, key=lambda n: abs(n - _SEARCHES / 2))]
        print(
            f"  memory after {min(said)}, {_SEARCHES // 2:,} and {max(said):,} searches: "
            f"{first:.0f}, {half:.0f}, {last:.0f} MB ({100 * (last / first - 1):+.1f} %)"
        )


SUITES = [Page]
