"""The public collection: fetched once, or an error that leaves nothing behind."""

import contextlib
import http.server
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import fetch_geological_similarity, make_rocks, write_rocks
from geoimages.datasets.fetching import get_data_home

CLASSES = ["andesite", "gneiss", "marble", "quartzite", "rhyolite", "schist"]


class Server:
    """A server of one file; its attributes say how it misbehaves."""

    def __init__(self, content):
        self.content = content
        self.cuts = 0  # connections that break half-way
        self.answers = []  # status codes sent first
        self.location = None  # where they point to
        self.n_requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/pub/rocks.zip"

    def answer(self, handler):
        self.n_requests += 1
        status = self.answers.pop(0) if self.answers else 200
        body = self.content if status == 200 else b""
        handler.send_response(status)
        if self.location:
            handler.send_header("Location", self.location)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.cuts:
            self.cuts -= 1
            body = body[: len(body) // 2]
        handler.wfile.write(body)
        handler.close_connection = True


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "rocks.zip"
    return write_rocks(path, 24, random_state=0)


# pooch leaves an answer that is an error to the garbage collector, and its socket.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def server(archive, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server(archive.read_bytes())
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_kept_and_not_fetched_again(server, archive, tmp_path):
    home = tmp_path / "new" / "home"
    collection = fetch_geological_similarity(home, url=server.url)
    assert collection.data.shape == (24, 28, 28, 3)
    assert collection.filename == str(home / "rocks.zip")
    assert (home / "rocks.zip").read_bytes() == archive.read_bytes()
    assert names_in(home) == ["rocks.zip"]
    fetch_geological_similarity(home, url=server.url, download_if_missing=False)
    assert server.n_requests == 1


@pytest.mark.parametrize("fault", ["cut", "busy"])
def test_what_fails_at_first_is_tried_again(server, archive, tmp_path, fault):
    server.cuts = 2 * (fault == "cut")
    server.answers = [503, 503] * (fault == "busy")
    fetch_geological_similarity(tmp_path, url=server.url)
    assert (tmp_path / "rocks.zip").read_bytes() == archive.read_bytes()
    assert server.n_requests == 3
    assert names_in(tmp_path) == ["rocks.zip"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [("cut", "3 attempts: "), ("missing", "404 .*Not Found"), ("gone", "Max retries")],
)
def test_what_keeps_failing_is_one_line_and_leaves_nothing(
    server, tmp_path, fault, message
):
    url = server.url
    if fault == "gone":
        url = url.replace(str(server.http.server_port), "1")
    server.cuts = 9 * (fault == "cut")
    server.answers = [404] * 9 * (fault == "missing")
    with pytest.raises(ConnectionError, match=message) as caught:
        fetch_geological_similarity(tmp_path, url=url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("fault", ["page", "bytes"])
def test_what_is_no_whole_zip_is_an_error_and_deleted(server, tmp_path, fault):
    damaged = bytearray(server.content)
    damaged[700] ^= 255
    page = b"<html><body>Please log in.</body></html>"
    server.content = page if fault == "page" else bytes(damaged)
    with pytest.raises(
        OSError, match="is not a valid zip: .*(no zip|not a zip|jpg is)"
    ):
        fetch_geological_similarity(tmp_path, url=server.url)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("scheme", ["ftp", "file"])
def test_a_redirect_is_followed_to_http_only(server, tmp_path, scheme):
    server.answers = [302] * 9
    server.location = f"{scheme}://{tmp_path}/rocks.zip"
    with pytest.raises(ConnectionError, match=f"No connection adapters.*{scheme}"):
        fetch_geological_similarity(tmp_path, url=server.url)
    assert names_in(tmp_path) == []


def test_missing_and_not_to_be_downloaded(server, tmp_path):
    home = tmp_path / "home"
    with pytest.raises(OSError, match=r"no .*home.rocks.zip.*download_if_missing"):
        fetch_geological_similarity(home, url=server.url, download_if_missing=False)
    assert server.n_requests == 0
    assert not home.exists()


def test_address_without_a_name_gets_one(server, tmp_path):
    url = server.url.removesuffix("pub/rocks.zip")
    fetch_geological_similarity(tmp_path, url=url)
    assert names_in(tmp_path) == ["geological_similarity.zip"]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/rocks.zip",
        "file:///rocks.zip",
        "data:,x",
        "http:///rocks.zip",
        "s3://b/k",
    ],
)
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(ValueError, match="http or https address or the path of a zip"):
        fetch_geological_similarity(tmp_path, url=url)


def test_url_of_another_type_is_refused():
    with pytest.raises(TypeError, match="url is an address or the path"):
        fetch_geological_similarity(url=3)


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.delenv("GEOIMAGES_HOME", raising=False)
    assert get_data_home() == Path.home() / "geoimages_data"
    monkeypatch.setenv("GEOIMAGES_HOME", str(tmp_path))
    assert get_data_home() == tmp_path
    assert get_data_home("~/rocks") == Path.home() / "rocks"


# A zip that is there already.


@pytest.mark.parametrize("kind", [str, Path])
def test_local_zip_is_read_where_it_lies(archive, tmp_path, kind):
    collection = fetch_geological_similarity(tmp_path, url=kind(archive))
    images, labels = make_rocks(24, random_state=0)
    assert names_in(tmp_path) == []
    assert collection.data.dtype == np.uint8
    assert collection.target_names == CLASSES
    assert collection.errata == []
    assert "land-cover" in collection.DESCR
    assert list(collection.image_keys) == sorted(collection.image_keys)
    with zipfile.ZipFile(archive) as file:
        of_key = {
            ".".join(Path(name).with_suffix("").parts[1:]): (image, label)
            for name, image, label in zip(file.namelist(), images, labels, strict=True)
        }
    for key, image, label in zip(
        collection.image_keys, collection.data, collection.target, strict=True
    ):
        assert label == of_key[key][1] == key.split(".")[0]
        assert np.abs(image.astype(int) - of_key[key][0]).mean() < 8


def test_x_y_and_frame(archive):
    collection = fetch_geological_similarity(url=archive)
    x, y = fetch_geological_similarity(url=archive, return_X_y=True)
    np.testing.assert_array_equal(x, collection.data)
    np.testing.assert_array_equal(y, collection.target)
    frame, series = fetch_geological_similarity(
        url=archive, return_X_y=True, as_frame=True
    )
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(series, pd.Series)
    assert frame.shape == (24, 2352)
    assert (frame.dtypes == np.float32).all()
    np.testing.assert_array_equal(frame.columns, np.arange(2352))
    assert list(frame.index) == list(series.index) == list(collection.image_keys)
    np.testing.assert_allclose(frame, x.reshape(24, -1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(series, y)
    bunch = fetch_geological_similarity(url=archive, as_frame=True)
    pd.testing.assert_frame_equal(bunch.data, frame)


def jpeg(side):
    file = BytesIO()
    Image.new("RGB", (side, side), "gray").save(file, "JPEG")
    return file.getvalue()


def test_what_was_left_out_is_listed(tmp_path):
    path = tmp_path / "mixed.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
            file.writestr(name, jpeg(28))
        file.writestr("a/large.jpg", jpeg(32))
        file.writestr("b/empty.jpg", b"")
        file.writestr("b/notes.txt", b"notes")
        file.writestr("loose.jpg", jpeg(28))
        file.writestr("b/broken.jpg", b"checksum of this")
    content = path.read_bytes().replace(b"checksum of this", b"Checksum of this")
    path.write_bytes(content)
    collection = fetch_geological_similarity(url=path)
    assert list(collection.image_keys) == ["a.1", "a.2", "b.3"]
    assert {e["file_path"]: e["reason"] for e in collection.errata} == {
        "a/large.jpg": "other-size",
        "b/broken.jpg": "unreadable",
        "b/empty.jpg": "empty-file",
        "b/notes.txt": "not-a-picture",
        "loose.jpg": "no-class",
    }


def test_local_path_that_does_not_serve(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such\.zip"):
        fetch_geological_similarity(url=tmp_path / "no-such.zip")
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    with pytest.raises(ValueError, match=r"text\.zip is not a valid zip"):
        fetch_geological_similarity(url=text)
    empty = tmp_path / "empty.zip"
    with contextlib.closing(zipfile.ZipFile(empty, "w")):
        pass
    with pytest.raises(ValueError, match="holds no readable picture"):
        fetch_geological_similarity(url=empty)
