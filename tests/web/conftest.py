"""The page, served from a thread to whoever asks, and a browser that stays at home."""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import struct
import threading
import time
import zlib
from io import BytesIO
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="pip install 'geoimages[web]'")

from geoimages import Collection, ConvNetClassifier, make_rocks, write_rocks
from geoimages.cli.shorthands import FEATURES, make_model
from geoimages.web.desk import Desk
from geoimages.web.server import listen, make_server

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)


def _as_file(image, kind="PNG"):
    file = BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


class Served:
    """A page that is served, and how to ask it without a browser."""

    def __init__(self, desk, host="127.0.0.1", **limits):
        self.desk = desk
        listener = listen("127.0.0.1" if host == "0.0.0.0" else host, 0)
        self.port = listener.getsockname()[1]
        self.server, self.address = make_server(desk, listener, host, **limits)
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[listener]))
        )
        self._thread.start()

    def close(self):
        self.server.should_exit = True
        self._thread.join()
        self.desk.close()

    def ask(self, path, *, method=None, body=None, headers=None, **query):
        """Ask once: (status, headers, content)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if isinstance(body, dict):
            body, method = json.dumps(body).encode(), method or "POST"
        method = method or ("GET" if body is None else "POST")
        query = urlencode(query, doseq=True)
        with contextlib.closing(connection):
            connection.request(
                method, path + (f"?{query}" if query else ""), body, headers or {}
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def get(self, path, **options):
        """Ask until it is prepared, and return what its JSON says."""
        for _ in range(600):
            status, _, content = self.ask(path, **options)
            if status != 202:
                assert status == 200, content
                return json.loads(content)
            time.sleep(0.1)
        raise AssertionError(f"{path} was never prepared")

    def wait(self):
        """Wait until it is ready; what it said before."""
        said = []
        for _ in range(600):
            status, _, content = self.ask("/healthz")
            if status == 200:
                return said
            said.append((status, content.decode()))
            time.sleep(0.1)
        raise AssertionError("the page never was ready")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Sixty drawn rocks of three holes, and a copy with another label, in a folder."""
    folder = tmp_path_factory.mktemp("made") / "secret-place"
    folder.mkdir()
    archive = write_rocks(folder / "rocks.zip", 60, random_state=0, n_damaged=3)
    with Collection.create(folder / "plain.h5", archive) as rocks:
        table = rocks.table[["source"]].reset_index(drop=True)
        images, labels, keys = rocks[:], rocks.labels, rocks.keys.tolist()
    table = table.rename(columns={"source": "file"})
    table["hole"] = np.resize(["BH1", "BH2", "BH3"], len(table))
    table["depth_from"] = np.arange(len(table)) / 2
    table["depth_to"] = table["depth_from"] + 1
    Collection.create(folder / "rocks.h5", archive, metadata=table).close()
    images = np.concatenate([images, np.rot90(images[:1], axes=(1, 2))])
    twice = [*keys, "granite.copy"]
    Collection.from_arrays(
        folder / "copies.h5", images, [*labels, "granite"], twice
    ).close()
    return folder


@pytest.fixture(scope="session")
def classifier():
    """A classifier of drawn rocks that learns in a second."""
    images, labels = make_rocks(120, random_state=1)
    model = ConvNetClassifier(
        hidden_layer_sizes=(32, 16),
        augment=None,
        expert_layer_sizes=None,
        max_epochs=8,
        random_state=0,
    )
    return model.fit(images, labels)


@pytest.fixture
def serve(made, tmp_path):
    """Serve a copy of a collection; all that were served end with the test."""
    running = []

    def start(name="rocks.h5", host="127.0.0.1", classifier=None, **limits):
        for path in made.glob(f"{name}*"):
            shutil.copy(path, tmp_path)
        known = {name: name for name in ("rock", *(f for f in FEATURES if f != "rock"))}
        desk = Desk(tmp_path / name, make_model, known, classifier=classifier)
        running.append(Served(desk, host, **limits))
        return running[-1]

    yield start
    for served in running:
        served.close()


@pytest.fixture(scope="module")
def page(made, classifier, tmp_path_factory):
    """A page that is ready, with a classifier, for the tests of one module."""
    folder = tmp_path_factory.mktemp("page") / "secret-place"
    folder.mkdir()
    shutil.copy(made / "rocks.h5", folder)
    known = {name: name for name in ("rock", "pattern", "pixels", "color", "texture")}
    served = Served(Desk(folder / "rocks.h5", make_model, known, classifier=classifier))
    served.wait()
    yield served
    served.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium; without it the tests are skipped, and fail where it is required."""
    if CHROMIUM is None:
        told = "there is no chromium; apt-get install chromium"
        if os.environ.get("GEOIMAGES_BROWSER") == "required":
            pytest.fail(told)
        pytest.skip(told)
    playwright = pytest.importorskip("playwright.sync_api")
    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def faults():
    """The serious faults that axe finds in a tab."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def find(tab):
        return [
            (fault["id"], fault["nodes"][0]["html"])
            for fault in axe.run(tab).response["violations"]
            if fault["impact"] in ("serious", "critical")
        ]

    return find


@pytest.fixture
def open_tab(browser):
    """Open tabs that ask nobody but this machine, and whose scripts do not fail."""
    contexts, wrong = [], []

    def at_home(route):
        host = route.request.url.split("/")[2].rpartition(":")[0]
        if host == "127.0.0.1":
            route.continue_()
        else:
            wrong.append(f"asked for {route.request.url}")
            route.abort()

    def start(url, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        context.route("http*://**/*", at_home)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(url)
        return tab

    yield start
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="session")
def as_file():
    """Encode a picture: bytes of a PNG, or of another kind."""
    return _as_file


@pytest.fixture(scope="session")
def hostile():
    """Twenty files that no page should choke on."""
    rng = np.random.default_rng(0)
    png = _as_file(rng.integers(0, 255, (40, 40, 3), np.uint8))
    jpeg = _as_file(rng.integers(0, 255, (40, 40, 3), np.uint8), "JPEG")

    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    def bomb(side, bits=8, color=2, n_bytes=1 << 20):
        header = struct.pack(">IIBBBBB", side, side, bits, color, 0, 0, 0)
        data = zlib.compress(bytes(n_bytes))
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts

    transparent = np.zeros((20, 20, 4), np.uint8)
    return {
        "empty": b"",
        "text": b"hello",
        "html": b"<html><script>alert(1)</script>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "zip": b"PK\x03\x04" + bytes(100),
        "pdf": b"%PDF-1.7\n" + bytes(100),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "program": b"\x7fELF" + bytes(200),
        "zeros": bytes(100_000),
        "noise": rng.bytes(100_000),
        "half a png": png[: len(png) // 2],
        "half a jpeg": jpeg[: len(jpeg) // 2],
        "a png with another": png[:60] + png[:60],
        "flipped bits": png[:80] + bytes([png[80] ^ 255]) + png[81:],
        "bomb": bomb(30_000),
        "bomb below the cap": bomb(7_000),
        "whole bomb": bomb(8_000, 1, 0, 8_000 * 1_001),
        "widest": bomb(2**31 - 1),
        "gif": b"GIF89a\xff\xff\xff\xff\xf7\x00\x00" + bytes(50),
        "tiff": b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(50),
        "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(50),
        "transparent": _as_file(transparent),
    }
