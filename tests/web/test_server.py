"""The page without a browser: its answers, and who gets none."""

import contextlib
import json
import socket
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from geoimages import (
    Collection,
    ConvNetClassifier,
    PairwiseModel,
    RockFeatures,
    make_rocks,
    train_classifier,
)
from geoimages.cli import main
from geoimages.collection.selection import Range
from geoimages.web import safety, server
from geoimages.workflows import ask, fit_keeping


@pytest.fixture(scope="module")
def key(page):
    return str(page.desk.shelf().rocks.keys[7])


def test_it_says_what_it_does_until_it_is_ready(serve):
    said = serve().wait()
    assert said
    assert {status for status, _ in said} == {503}
    assert any("pening" in text or "rock features" in text for _, text in said)


def test_the_answer_is_that_of_the_library(page, key):
    got = page.get("/api/ask", key=key, k=5, where="hole=BH2")
    with Collection(page.desk.path, "r+") as rocks:
        model = fit_keeping(PairwiseModel(12, features=RockFeatures()), rocks)
        where = {"hole": ["BH2"]}
        classifier = page.desk.classifier
        answer = ask(
            model, rocks, key, where=where, k_candidates=5, classifier=classifier
        )
    assert [row["key"] for row in got["matches"]] == answer.matches.index.tolist()
    assert [row["similarity"] for row in got["matches"]] == pytest.approx(
        answer.matches["similarity"].tolist()
    )
    assert {row["about"]["hole"] for row in got["matches"]} == {"BH2"}
    assert [row["name"] for row in got["classes"]] == answer.classes.index.tolist()
    assert got["asked"]["key"] == key
    shares = np.array([row["shares"] for row in got["matches"]])
    distances = [row["distance"] for row in got["matches"]]
    np.testing.assert_allclose(shares.sum(axis=1), distances, atol=1e-6)


def test_a_picture_that_is_sent_is_found(page, key, as_file):
    shelf = page.desk.shelf()
    data = as_file(np.rot90(shelf.rocks[key]))
    got = page.get("/api/ask", body=data)
    assert got["found"]
    assert got["matches"][0]["key"] == key
    assert got["matches"][0]["orientation"] == 270
    part = page.get("/api/ask", body=data, box="0,0,0.5,0.5")
    assert "resized from 14 × 14" in part["notes"][1]


def test_settings_that_make_no_sense_are_one_sentence(page, key):
    for query, says in [
        ({"k": "0"}, "k=0 is not a number from 1 to 200"),
        ({"k": "many"}, "k=many"),
        ({"color": "2"}, "color=2"),
        ({"features": "/etc/passwd.onnx"}, "is not one of rock"),
        ({"metric": "taste"}, "metric=taste"),
        ({"where": "hole"}, "not COLUMN=VALUE"),
        ({"where": "hole=BH9"}, "No picture of rocks.h5 has hole=BH9"),
        ({"where": "mine=1"}, "No column 'mine'"),
        ({"box": "1,2"}, "box=1,2"),
        ({"box": "0,0,2,2"}, "from 0 to 1"),
        ({"features": "color", "color": "0.5"}, "weighs color against texture"),
        ({"where": "x" * 600}, "too long"),
    ]:
        for _ in range(100):
            status, _, content = page.ask("/api/ask", key=key, **query)
            if status != 202:
                break
            time.sleep(0.05)
        assert status in (400, 404), query
        assert says in json.loads(content)["error"], query
    status, _, content = page.ask("/api/ask", key="nothing")
    assert (status, "is not a key" in json.loads(content)["error"]) == (404, True)
    assert page.ask("/api/ask")[0] == 400


def test_answers_can_be_taken_away(page, key, as_file):
    status, headers, table = page.ask("/api/ask.csv", key=key, k=4)
    assert status == 200
    assert "attachment" in headers["Content-Disposition"]
    lines = table.decode().splitlines()
    assert lines[0].startswith("key,correlation,similarity,color")
    assert "hole" in lines[0]
    assert len(lines) == 5
    record = page.get("/api/ask.record.json", key=key, k=4)
    assert record["asked"] == {
        "key": key,
        "features": "rock",
        "model": "pairwise",
        "metric": "correlation",
        "k": 4,
    }
    assert set(record["versions"]) == {"geoimages", "numpy", "scikit-learn"}
    assert len(record["matches"]) == 4
    picture = page.desk.shelf().rocks[key]
    sheet = page.ask("/api/ask.png", body=as_file(picture), k=4)[2]
    assert Image.open(BytesIO(sheet)).width > 500
    assert page.ask("/api/ask.pdf", key=key, k=4)[2].startswith(b"%PDF")


def test_pictures_come_at_the_size_they_are_shown_and_stay_cached(
    page, tmp_path, serve
):
    version = page.get("/api/about")["version"]
    status, headers, data = page.ask(f"/picture/{version}/256/7")
    rocks = page.desk.shelf().rocks
    assert status == 200
    assert (np.asarray(Image.open(BytesIO(data))) == rocks[7]).all()
    assert "immutable" in headers["Cache-Control"]
    for wrong in (f"{version}/255/7", f"{version}/256/60", f"{'0' * 16}/256/7"):
        assert page.ask(f"/picture/{wrong}")[0] == 404
    large = np.random.default_rng(0).integers(0, 255, (2, 300, 400, 4), np.uint8)
    large[..., 3] = 255
    Collection.from_arrays(tmp_path / "large.h5", large, ["a", "b"]).close()
    other = serve("large.h5")
    version = other.get("/api/about")["version"]
    for size, shape in [(128, (128, 96)), (2048, (400, 300))]:
        status, headers, data = other.ask(f"/picture/{version}/{size}/0")
        assert headers["Content-Type"] == "image/jpeg"
        assert Image.open(BytesIO(data)).size == shape


def test_what_is_fixed_is_cached_by_its_content(page):
    status, headers, html = page.ask("/")
    assert status == 200
    assert headers["Cache-Control"] == "no-cache"
    (address,) = [
        part for part in html.decode().split('"') if part.endswith("/style.css")
    ]
    assert "immutable" in page.ask(address)[1]["Cache-Control"]
    assert page.ask("/static/old/style.css")[1]["Cache-Control"] == "no-cache"
    assert page.ask("/static/old/app.py")[0] == 404
    assert page.ask("/static/old/..%2fapp.py")[0] == 404


def test_the_map_has_a_place_and_a_color_for_every_picture(page):
    for _ in range(200):
        status, _, data = page.ask("/api/map")
        if status != 202:
            break
        time.sleep(0.05)
    points = np.frombuffer(data, "<f4").reshape(-1, 2)
    assert len(points) == 60
    assert points.min() >= 0
    assert points.max() <= 1
    column = page.get("/api/column", name="hole")
    assert column["names"] == ["BH1", "BH2", "BH3"]
    assert len(column["codes"]) == 60
    assert len(page.get("/api/column", name="depth_from")["values"]) == 60
    assert page.ask("/api/column", name="sha256")[0] == 404
    rows = page.get("/api/at", i="3,1,99")
    assert [row["position"] for row in rows] == [3, 1]
    table = page.ask("/api/list.csv", body={"positions": [3, 1]})[2].decode()
    assert table.splitlines()[1].startswith(rows[0]["key"])
    assert page.ask("/api/list.csv", body={"positions": [-1]})[0] == 400


def test_contradicting_copies_stand_side_by_side(serve):
    served = serve("copies.h5")
    found = served.get("/api/duplicates")
    (pair,) = found["pairs"]
    assert {row["label"] for row in pair["pictures"]} == {"granite", "andesite"} or (
        "granite" in {row["label"] for row in pair["pictures"]}
    )
    queue = served.get("/api/to-label", n=60)
    first = next(row for row in queue["pictures"] if row["copies"])
    positions = [first["position"], first["copies"][0]["position"]]
    body = {"positions": positions, "label": " new  kind ", "who": "ada"}
    assert served.get("/api/label", body=body) == {"given": 2}
    text = served.desk.labels.path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "file,label"
    assert text.count(",new kind") == 2
    assert len(served.get("/api/to-label", n=100)["pictures"]) == 59
    assert served.get("/api/unlabel", body={"who": "bo"})["given"] == 2
    assert served.get("/api/unlabel", body={"who": "ada"})["given"] == 0
    assert served.ask("/api/label", body={"positions": [0], "label": " ", "who": "a"})[
        0
    ] == (400)


def test_labels_given_on_the_page_are_taken_by_etl_and_train(serve, made, tmp_path):
    served = serve()
    served.wait()
    keys = served.desk.shelf().rocks.keys.tolist()
    for label, positions in [("=tuff, grey", [3, 4, 5]), ("schist", [0])]:
        body = {"positions": positions, "label": label, "who": "ada"}
        served.get("/api/label", body=body)
    table, path = served.desk.labels.path, tmp_path / "again.h5"
    argv = ["etl", str(made / "rocks.zip"), "-o", str(path), "--metadata", str(table)]
    assert main(argv) == 0
    wanted = {keys[3]: "=tuff, grey", keys[5]: "=tuff, grey", keys[0]: "schist"}
    with Collection(path) as rocks, Collection(made / "rocks.h5") as before:
        given = dict(zip(rocks.keys.tolist(), rocks.labels.tolist(), strict=True))
        assert {key: given[key] for key in wanted} == wanted
        assert rocks.labels[6:].tolist() == before.labels[6:].tolist()
        model = ConvNetClassifier(
            hidden_layer_sizes=(4,), augment=None, expert_layer_sizes=None, max_epochs=1
        )
        model, _, _ = train_classifier(before, model, labels=table)
    assert "=tuff, grey" in model.classes_


def test_pictures_are_searched_by_ranges_of_depth(page, key):
    columns = {column["name"]: column for column in page.get("/api/about")["columns"]}
    assert columns["depth"] == {"name": "depth", "low": 0.0, "high": 30.5}
    rocks = page.desk.shelf().rocks
    for where, given in [
        (["depth=5..8"], {"depth": Range("5..8")}),
        (["depth>5", "hole=BH2"], {"depth": Range(">5"), "hole": "BH2"}),
    ]:
        got = page.get("/api/ask", key=key, k=60, where=where)
        expected = rocks.keys[rocks.where(**given)].tolist()
        found = {row["key"] for row in got["matches"]}
        assert found == set(expected) - {key}
    (row,) = page.get("/api/at", i="7")
    assert row["about"]["depth"] == "3.5–4.5"


def test_what_a_model_is_unsure_of_comes_first(page):
    queue = page.get("/api/to-label", n=60)["pictures"]
    assert {row["reason"] for row in queue} <= {"new", "uncertain"}
    shelf = page.desk.shelf()
    images = shelf.rocks[[row["position"] for row in queue]]
    new = page.desk.classifier.novelty(images) > 99
    assert (np.diff(new.astype(int)) <= 0).all()
    proba = np.sort(page.desk.classifier.predict_proba(images[~new]))
    assert (np.diff(proba[:, -1] - proba[:, -2]) > -1e-6).all()
    assert shelf.rocks.labels[0] == "andesite"  # and nothing was changed


def test_votes_are_blind_and_go_to_the_file(serve):
    served = serve()
    assert served.get("/api/trials")["file"] is None
    body = {"models": ["pairwise:pixels", "pairwise:rock"], "trials": 4}
    assert served.get("/api/trials", body=body)["trials"] >= 4
    trial = served.get("/api/trial", voter="ada")
    assert not {"left_model", "right_model", "models"} & set(trial)
    vote = {"trial": trial["name"], "voter": "ada", "choice": "left", "seconds": 1.5}
    left = served.get("/api/vote", body=vote)["left"]
    assert left == trial["total"] - 1
    votes = served.desk.votes.table
    assert votes[["voter", "choice"]].to_numpy().tolist() == [["ada", "left"]]
    again = served.get("/api/trial", voter="ada", name=trial["name"])
    assert again["left"] == trial["left"]
    assert served.get("/api/trial", voter="bo")["name"] == trial["name"]
    verdict = served.get("/api/verdict")
    assert verdict["pairs"][0]["votes"] == 1
    for wrong in (
        {"models": ["pairwise:rock"]},
        {"models": ["pairwise:rock", "pairwise:rock"]},
        {"models": ["pairwise:rock", "pairwise:/etc/x.onnx"]},
    ):
        assert served.ask("/api/trials", body=wrong)[0] == 400
    assert served.ask("/api/vote", body={**vote, "choice": "both"})[0] == 400
    assert served.ask("/api/vote", body={**vote, "trial": "x"})[0] == 404


def test_a_collection_that_is_replaced_is_opened_again(serve):
    served = serve()
    served.wait()
    before = served.get("/api/about")
    images, labels = make_rocks(12, random_state=3)
    Collection.from_arrays(served.desk.path, images, labels).close()
    after = served.get("/api/about")
    assert (before["pictures"], after["pictures"]) == (60, 12)
    status, _, content = served.ask("/api/ask", key="x", version=before["version"])
    assert status == 409
    assert "load the page again" in json.loads(content)["error"]
    assert served.ask(f"/picture/{before['version']}/64/0")[0] == 404
    key = str(served.desk.shelf().rocks.keys[3])
    assert len(served.get("/api/ask", key=key)["matches"]) == 11


# Safety


def test_it_listens_on_this_machine_only(page):
    listeners = page.server.servers[0].sockets
    assert {listener.getsockname()[0] for listener in listeners} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_other_names_for_this_machine_are_refused(page, host):
    headers = {"Host": host.format(port=page.port)}
    status, _, content = page.ask("/", headers=headers)
    assert status in (400, 421)
    assert b"<html" not in content


def test_names_of_this_machine_are_known(page):
    for host in ("127.0.0.1", "localhost"):
        headers = {"Host": f"{host}:{page.port}"}
        assert page.ask("/", headers=headers)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_are_refused(page, key, headers):
    assert page.ask("/api/ask", key=key, headers=headers)[0] == 403
    assert page.ask("/api/label", body={}, headers=headers)[0] == 403
    own = {"Origin": page.url, "Sec-Fetch-Site": "same-origin"}
    assert page.ask("/api/ask", key=key, headers=own)[0] == 200


def test_forms_of_other_sites_are_refused(page):
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        assert page.ask("/api/label", body=b"{}", headers={"Content-Type": kind})[
            0
        ] == (403)


def test_every_answer_has_a_policy_without_inline_script(page, key):
    for path in ("/", "/healthz", "/api/about", "/nothing", "/api/ask?key=nothing"):
        headers = page.ask(path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy.split("; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    refused = page.ask("/", headers={"Host": "evil.example"})[1]
    assert "default-src 'none'" in refused["Content-Security-Policy"]


def test_another_address_needs_the_token(serve):
    served = serve(host="0.0.0.0")
    token = served.address.partition("token=")[2]
    assert len(token) > 30
    assert served.ask("/healthz")[0] in (200, 503)
    for path in (
        "/",
        "/api/about",
        "/static/x/style.css",
        "/?token=wrong",
        "/?token=é",
    ):
        path = path.replace("é", "%C3%A9")
        assert served.ask(path)[0] == 401
    status, headers, _ = served.ask("//evil.example/?token=" + token + "&key=a%20b")
    assert status == 303
    assert headers["Location"] == "/evil.example/?key=a+b"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    held = {"Cookie": cookie.partition(";")[0]}
    assert served.ask("/", headers=held)[0] == 200
    assert served.ask("/", headers={"Cookie": f"{safety.COOKIE}=wrong"})[0] == 401
    numeric = {**held, "Host": f"192.168.7.7:{served.port}"}
    assert served.ask("/", headers=numeric)[0] == 200
    named = {**held, "Host": f"evil.example:{served.port}"}
    assert served.ask("/", headers=named)[0] == 421


def test_hostile_files_are_refused_in_one_sentence(page, hostile):
    assert len(hostile) >= 20
    for name, data in hostile.items():
        status, _, content = page.ask("/api/ask", body=data, method="POST")
        if name == "transparent":  # on white it is a picture
            assert status == 200
            continue
        assert status == 422, (name, content)
        said = json.loads(content)["error"]
        assert said.startswith("This file cannot be used: "), name
        assert "\n" not in said
    assert page.ask("/healthz")[0] == 200


def test_nothing_sent_is_written_and_no_path_is_told(
    page, key, hostile, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = sorted(path.name for path in page.desk.path.parent.iterdir())
    told = [page.ask("/api/ask", body=data)[2] for data in hostile.values()]
    for path in ("/api/about", "/api/ledger", "/api/duplicates", "/api/samples", "/"):
        told.append(page.ask(path)[2])
    for form in ("", ".csv", ".record.json", ".pdf"):
        told.append(page.ask(f"/api/ask{form}", key=key)[2])
        told.append(page.ask(f"/api/ask{form}", key=key, where="hole=none")[2])
    assert not any(b"secret-place" in content for content in told)
    assert sorted(path.name for path in page.desk.path.parent.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_messages_that_no_page_sends_are_refused_in_one_sentence(serve, capfd):
    served = serve()
    version = served.get("/api/about")["version"]
    digits = "9" * 5000  # which Python does not make a number of
    for path in (f"64/{digits}", f"{digits}/0", "64/-1", "64/1.0"):
        assert served.ask(f"/picture/{version}/{path}")[0] == 404
    assert served.ask("/api/at", i=digits)[0] == 400
    pair = ["pairwise:pixels", "pairwise:rock"]
    served.get("/api/trials", body={"models": pair, "trials": 2})
    name = served.get("/api/trial", voter="ada")["name"]
    label = {"label": "a", "who": "b", "positions": [1]}
    vote = {"trial": name, "voter": "ada", "choice": "left"}
    for path, body in [
        *(("/api/label", {**label, "positions": p}) for p in (5, None, [], "1", [[]])),
        *(("/api/label", {**label, "who": w}) for w in (None, [1], "b" * 10**6)),
        *(("/api/label", {**label, "label": t}) for t in ("\x1b[2J", "\ud800", 5)),
        *(("/api/vote", {**vote, "voter": v}) for v in ("a" * 10**6, "\ud800", "a\nb")),
        *(("/api/vote", {**vote, "seconds": s}) for s in ("x", -5, [1])),
        ("/api/trials", {"models": [[], {}]}),
    ]:
        status, _, content = served.ask(path, body=body)
        said = json.loads(content)["error"]
        assert status == 400, (path, said)
        assert "object" not in said  # of Python
        assert "codec" not in said
    assert served.ask("/api/label", body=b"[" * 100_000)[0] == 400
    assert not served.desk.labels.path.exists()
    assert served.desk.votes.table.empty
    assert "Traceback" not in capfd.readouterr().err


def test_errors_inside_tell_no_path(serve, monkeypatch):
    served = serve()
    served.wait()

    def fail(*_):
        raise OSError(f"{served.desk.path} cannot be read")

    monkeypatch.setattr(served.desk, "column", fail)
    status, _, content = served.ask("/api/column")
    assert (status, json.loads(content)) == (400, {"error": "rocks.h5 cannot be read"})

    def crash(*_):
        raise ZeroDivisionError(f"at {served.desk.path}")

    monkeypatch.setattr(served.desk, "column", crash)
    status, _, content = served.ask("/api/column")
    assert status == 500
    assert "Something went wrong" in json.loads(content)["error"]


def test_large_uploads_are_cut_before_they_are_read(serve):
    served = serve(most_bytes=100_000)
    served.wait()
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.settimeout(20)
        head = f"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        line.sendall(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
        assert b" 413 " in line.recv(1000)
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.settimeout(20)
        line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        part = b"ffff\r\n" + bytes(0xFFFF) + b"\r\n"
        for _ in range(3):  # without end
            line.sendall(part)
        assert b" 413 " in line.recv(1000)


def upload_slowly(served, seconds, n_bytes):
    """Send a byte each `seconds`, and return what is answered."""
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        head = f"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        line.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        for _ in range(n_bytes):
            line.sendall(b"x")
            line.settimeout(seconds)
            with contextlib.suppress(TimeoutError):
                return line.recv(1000)
    raise AssertionError("it was never cut")


def test_slow_uploads_are_cut(serve):
    stalled = serve(seconds_a_part=0.5)
    stalled.wait()
    assert b" 408 " in upload_slowly(stalled, 20, 1)


def test_uploads_without_end_are_cut(serve, monkeypatch):
    # Who is sending is not hung up on.
    monkeypatch.setattr(server.ImpatientProtocol, "seconds", 0.3)
    dripping = serve(seconds=1.5)
    dripping.wait()
    assert b" 408 " in upload_slowly(dripping, 0.1, 100)


def test_who_asks_nothing_is_hung_up_on(serve, monkeypatch):
    monkeypatch.setattr(server.ImpatientProtocol, "seconds", 0.3)
    served = serve()
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.settimeout(20)
        assert line.recv(100) == b""  # who says nothing
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.settimeout(20)
        line.sendall(b"GET / HT")
        assert line.recv(100) == b""
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.settimeout(20)
        line.sendall(
            f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
        )
        answer = line.recv(1000)
        while not answer.endswith(b"Not Found"):
            answer += line.recv(1000)
        line.sendall(b"GET / HT")  # on a connection that is kept
        assert line.recv(100) == b""


# The command


def test_the_command_opens_the_page(made, monkeypatch, capsys):
    opened, served = [], []

    async def stop_at_once(self, sockets):
        served.append(sockets[0].getsockname()[0])

    monkeypatch.setattr("uvicorn.Server.serve", stop_at_once)
    monkeypatch.setattr("webbrowser.open", opened.append)
    path = str(made / "rocks.h5")
    assert main(["serve", path, "--port", "0", "--no-browser"]) == 0
    out = capsys.readouterr().out
    assert "http://127.0.0.1:" in out
    assert "token" not in out
    assert not opened
    assert main(["serve", path, "--port", "0", "--host", "0.0.0.0"]) == 0
    out = capsys.readouterr().out
    assert out.count("?token=") == 1
    for _ in range(100):
        if opened:
            break
        time.sleep(0.02)
    assert "?token=" in opened[0]
    assert served == ["127.0.0.1", "0.0.0.0"]


def test_what_keeps_the_page_from_opening_is_one_line(made, capsys, tmp_path):
    assert main(["serve", str(tmp_path / "none.h5"), "--no-browser"]) == 2
    assert "No collection at" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        path = str(made / "rocks.h5")
        assert main(["serve", path, "--no-browser", "--port", port]) == 2
    assert "choose another port with --port" in capsys.readouterr().err
    assert main(["serve", path, "--no-browser", "--host", "1.2.3.4.5"]) == 2
    assert "choose another address with --host" in capsys.readouterr().err
    assert main(["serve", path, "--no-browser", "--port", "99999"]) == 2
    assert "0<=x<=65535" in capsys.readouterr().err


def test_without_the_extra_one_line_names_it(made, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "geoimages.web.server", None)
    assert main(["serve", str(made / "rocks.h5"), "--no-browser"]) == 2
    assert "pip install 'geoimages[web]'" in capsys.readouterr().err
