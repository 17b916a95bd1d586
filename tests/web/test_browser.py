"""The page in a browser: what a person does there, with mouse, keys and a phone."""

import numpy as np
import pytest
from PIL import Image

from geoimages import Collection, make_rocks

WAIT = {"timeout": 60_000}


@pytest.fixture(scope="module")
def key(page):
    return str(page.desk.shelf().rocks.keys[7])


@pytest.fixture(scope="module")
def photo(page, tmp_path_factory):
    """A stored picture, rotated and larger, as a file."""
    image = np.rot90(page.desk.shelf().rocks[7])
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(image).resize((280, 280), Image.Resampling.NEAREST).save(path)
    return path


def keys_of(tab):
    return tab.eval_on_selector_all("#matches a", "all => all.map(a => a.dataset.key)")


def answered(tab, name):
    """Wait for the answer about a picture, and return the keys of its matches."""
    until(
        tab,
        "name => document.querySelector('#asked-name').textContent === name "
        "&& !document.querySelector('#matches.waiting')",
        name,
    )
    tab.wait_for_selector("#matches a")
    return keys_of(tab)


def until(tab, expression, arg=None):
    """Wait until an expression is true; the policy forbids Playwright's own way."""
    for _ in range(600):
        if tab.evaluate(expression, arg):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never: {expression}")


PASTE = """([bytes, how]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], `${how}.png`, {type: "image/png"}));
  const options = {bubbles: true, cancelable: true};
  document.body.dispatchEvent(how === "paste"
    ? new ClipboardEvent("paste", {...options, clipboardData: data})
    : new DragEvent("drop", {...options, dataTransfer: data}));
}"""


def test_a_picture_comes_in_by_every_way(open_tab, page, key, photo):
    tab = open_tab(page.url)
    tab.wait_for_selector("#samples img")
    assert tab.is_visible("text=Drop a picture here")
    with tab.expect_file_chooser() as chooser:
        tab.click("#choose")
    chooser.value.set_files(photo)
    first = answered(tab, "photo.png")
    assert first[0] == key
    assert key in tab.inner_text("#verdict")
    assert "rotated 270°" in tab.inner_text("#matches li.same")
    assert tab.locator("#classes .class").count() == 3
    assert tab.locator("#matches .shares").count() == 12
    for how in ("paste", "drop"):
        tab.evaluate(PASTE, [list(photo.read_bytes()), how])
        assert answered(tab, f"{how}.png") == first
    tab.go_back()
    assert answered(tab, "paste.png") == first
    tab.goto(page.url)
    tab.click("#camera")
    until(tab, "document.querySelector('#video').videoWidth > 0")
    tab.click("#snap")
    answered(tab, "Photo")
    assert "not found" in tab.inner_text("#verdict")


def test_questions_about_the_collection_stand_in_the_address(open_tab, page, key):
    tab = open_tab(page.url)
    tab.fill("#key", key[-4:])
    tab.click(f"#found a[title='{key}']")
    first = answered(tab, key)
    tab.keyboard.press("2")
    second = answered(tab, first[1])
    tab.click("#steer summary")
    tab.select_option("[name=metric]", "cosine")
    until(tab, "document.querySelector('#settings').textContent.includes('cosine')")
    tab.select_option("#filter-column", "hole")
    tab.select_option("#value", "BH2")
    tab.click("#filter-add")
    tab.wait_for_selector("#conditions button")
    until(tab, "!document.querySelector('#matches.waiting')")
    steered = answered(tab, first[1])
    table = page.desk.shelf().table
    assert set(table.loc[steered, "hole"]) == {"BH2"}
    other = open_tab(tab.url)  # a colleague's browser
    assert answered(other, first[1]) == steered
    assert other.is_visible("#conditions button") or "BH2" in other.inner_text(
        "#settings"
    )
    for _ in range(2):
        tab.go_back()
    until(tab, "!document.querySelector('#conditions button')")
    assert answered(tab, first[1]) == second
    tab.go_back()
    assert answered(tab, key) == first
    tab.go_forward()
    assert answered(tab, first[1]) == second


def test_a_part_of_a_picture_is_searched(open_tab, page, key, photo):
    tab = open_tab(f"{page.url}/?key={key}&k=5")
    whole = answered(tab, key)
    frame = tab.locator("#figure").bounding_box()
    left, top = frame["x"] + 10, frame["y"] + 10
    tab.mouse.move(left, top)
    tab.mouse.down()
    tab.mouse.move(left + 120, top + 140, steps=4)
    tab.mouse.up()
    tab.wait_for_selector("#whole:visible")
    until(tab, "document.querySelector('#notes').textContent.includes('resized')")
    assert "box=0.0" in tab.url
    assert tab.is_visible("#box")
    tab.click("#whole")
    tab.wait_for_selector("#whole", state="hidden")
    until(tab, "!document.querySelector('#notes').textContent.includes('resized')")
    assert answered(tab, key) == whole


def test_answers_are_taken_away(open_tab, page, key):
    tab = open_tab(f"{page.url}/?key={key}&k=5")
    answered(tab, key)
    for form, start in [("csv", b"key,"), ("pdf", b"%PDF")]:
        tab.click("#take summary")
        with tab.expect_download() as download:
            tab.click(f"[data-form='{form}']")
        with open(download.value.path(), "rb") as file:
            assert file.read(4) == start


def test_what_cannot_be_used_is_one_sentence_on_the_page(open_tab, page, tmp_path):
    tab = open_tab(page.url)
    (tmp_path / "notes.txt").write_text("hello")
    tab.set_input_files("#file", tmp_path / "notes.txt")
    tab.wait_for_selector("#error:visible")
    assert tab.inner_text("#error").startswith(
        "This file cannot be used: no known picture"
    )
    assert tab.is_visible("#drop")


def test_hostile_files_leave_the_page_as_it_was(open_tab, page, hostile, key):
    tab = open_tab(page.url)
    tab.wait_for_selector("#samples img")
    for name, data in hostile.items():
        if name in ("transparent", "empty"):  # a picture; and what no browser sends
            continue
        tab.evaluate("document.querySelector('#error').hidden = true")
        file = {"name": "rock.jpg", "mimeType": "image/jpeg", "buffer": data}
        tab.set_input_files("#file", file)
        tab.wait_for_selector("#error:visible")
        said = tab.inner_text("#error")
        assert said.startswith("This file cannot be used: "), name
        assert "\n" not in said
    tab.goto(f"{page.url}/?key={key}")
    assert answered(tab, key)


def test_the_collection_is_shown(open_tab, page):
    tab = open_tab(f"{page.url}/collection")
    tab.wait_for_selector("#ledger table")
    assert "60 pictures" in tab.inner_text("#summary")
    assert tab.locator("#sheet section").count() == 6
    assert tab.locator("#ledger tbody tr").count() == 3
    tab.click("#look")
    tab.wait_for_selector("#look", state="hidden")
    assert "copy" in tab.inner_text("#copies")


def test_a_lasso_makes_a_list(open_tab, page):
    tab = open_tab(f"{page.url}/map")
    tab.wait_for_selector("#key span")
    tab.focus("#map")
    tab.keyboard.press("l")
    box = tab.locator("#map").bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    for i, (x, y) in enumerate(corners):
        tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if not i:
            tab.mouse.down()
    tab.mouse.up()
    tab.wait_for_selector("#list img")
    assert "60 pictures" in tab.inner_text("#chosen-text")
    with tab.expect_download() as download:
        tab.click("#export")
    assert len(download.value.path().read_text(encoding="utf-8").splitlines()) == 61
    tab.keyboard.press("Escape")
    tab.wait_for_selector("#list li", state="detached")
    tab.select_option("#by", "depth_from")
    until(tab, "document.querySelectorAll('#key span').length >= 5")
    tab.keyboard.press("a")


def test_100000_points_are_drawn_in_time(open_tab, page):
    """A frame ends, and is drawn; `python -m benchmarks page` says in what time."""
    tab = open_tab(f"{page.url}/map")
    tab.wait_for_selector("#key span")
    drawn = tab.evaluate(
        """async () => {
          const n = 100000, points = new Float32Array(2 * n);
          for (let i = 0; i < 2 * n; i += 1) points[i] = (i * 0.618034) % 1;
          scatter.set(points, new Uint32Array(n).fill(0xff0000ff));
          await new Promise(requestAnimationFrame);
          await new Promise(requestAnimationFrame);
          const found = scatter.within([[0, 0], [0, 1e4], [1e4, 1e4], [1e4, 0]]).length;
          const pixels = scatter.canvas.getContext("2d")
            .getImageData(0, 0, scatter.canvas.width, scatter.canvas.height).data;
          return [found, pixels.some((value) => value === 255), scatter.frames.length];
        }"""
    )
    assert drawn[0] == 100_000
    assert drawn[1]
    assert drawn[2] > 0


def test_two_people_vote_blindly(open_tab, serve, made):
    served = serve()
    served.wait()
    tab = open_tab(f"{served.url}/compare")
    tab.select_option("#first", "pairwise:pixels")
    tab.select_option("#second", "pairwise:rock")
    tab.fill("#n", "3")
    tab.click("#draw button")
    tab.wait_for_selector("#enter:visible", **WAIT)
    other = open_tab(f"{served.url}/compare")
    for each, name in ((tab, "Ada"), (other, "Bo")):
        each.wait_for_selector("#enter:visible")
        each.fill("#voter", name)
        each.click("#enter button")
        each.wait_for_selector("#left img")
        assert "pairwise" not in each.inner_text("#trial")

    def press(each, name, number):
        each.keyboard.press(name)
        until(
            each,
            "n => document.querySelector('#number').textContent.startsWith(n)",
            number,
        )

    press(tab, "1", "2 ")
    press(other, "0", "2 ")
    press(tab, "u", "1 ")
    press(tab, "2", "2 ")
    press(tab, "0", "3 ")
    tab.keyboard.press("s")
    tab.wait_for_selector("#verdict:visible")
    assert tab.locator("#shares .interval").count() == 1
    votes = served.desk.votes.table
    names = [trial.name for trial in served.desk.votes.trials]
    of_ada = votes[votes["voter"] == "Ada"].set_index("trial")["choice"]
    assert of_ada[names].tolist() == ["right", "tie", "skip"]
    assert votes[votes["voter"] == "Bo"]["choice"].tolist() == ["tie"]


def test_labels_are_given_and_taken_back(open_tab, serve):
    served = serve("copies.h5")
    served.wait()
    served.get("/api/duplicates")
    tab = open_tab(f"{served.url}/label")
    tab.wait_for_selector("#classes button")
    assert "1 copy" in tab.inner_text("#copies")
    tab.keyboard.press("1")
    until(tab, "document.querySelector('#count').textContent.startsWith('2 ')")
    tab.fill("#name", "new kind")
    tab.keyboard.press("Enter")
    until(tab, "document.querySelector('#count').textContent.startsWith('3 ')")
    names = list(served.desk.labels.read().values())
    assert sorted(names) == ["andesite", "andesite", "new kind"]
    tab.keyboard.press("u")
    until(tab, "document.querySelector('#count').textContent.startsWith('2 ')")
    assert sorted(served.desk.labels.read().values()) == ["andesite", "andesite"]
    with Collection(served.desk.path) as rocks:
        assert "new kind" not in rocks.classes


def test_a_replaced_collection_is_said_on_the_page(open_tab, serve, tmp_path):
    served = serve()
    served.wait()
    tab = open_tab(served.url)
    tab.wait_for_selector("#samples a")
    images, labels = make_rocks(12, random_state=3)
    Collection.from_arrays(served.desk.path, images, labels).close()
    tab.click("#samples a")
    tab.wait_for_selector("#error:visible", **WAIT)
    tab.goto(served.url)
    tab.click("#samples a")
    tab.wait_for_selector("#matches a", **WAIT)
    assert tab.locator("#matches a").count() == 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(open_tab, faults, page, key, scheme):
    """No serious fault that axe finds, and nothing wider than a phone."""
    options = {"color_scheme": scheme, "viewport": {"width": 360, "height": 740}}
    tab = open_tab(page.url, **options)
    views = {
        "/": "#samples img",
        f"/?key={key}": "#matches a",
        "/collection": "#ledger table",
        "/map": "#key span",
        "/compare": "#draw:visible, #enter:visible",
        "/label": "#classes button",
    }
    for path, there in views.items():
        tab.goto(page.url + path)
        tab.wait_for_selector(there)
        if "key" in path:
            tab.click("#steer summary")
        assert not faults(tab), path
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_keys_do_what_the_list_says(open_tab, page, key):
    tab = open_tab(f"{page.url}/?key={key}")
    first = answered(tab, key)
    tab.keyboard.press("?")
    assert tab.is_visible("#help")
    tab.keyboard.press("Escape")
    tab.keyboard.press("s")
    assert tab.is_visible("[name=features]")
    tab.keyboard.press("s")
    tab.evaluate("document.activeElement.blur()")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    answered(tab, first[1])
    tab.keyboard.press("n")
    tab.wait_for_selector("#start:visible")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "key"


def test_a_part_is_chosen_by_keys(open_tab, page, key):
    tab = open_tab(f"{page.url}/?key={key}&k=5")
    answered(tab, key)
    tab.keyboard.press("b")
    for name in ("ArrowRight", "ArrowDown", "-", "Enter"):
        tab.keyboard.press(name)
    until(tab, "document.querySelector('#notes').textContent.includes('resized')")
    assert "box=0.350%2C0.350%2C0.750%2C0.750" in tab.url
    tab.keyboard.press("b")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Escape")
    left = "Math.round(parseFloat(document.querySelector('#box').style.left))"
    width = "document.querySelector('#candidate').getBoundingClientRect().width"
    assert abs(tab.evaluate(left) - 0.35 * tab.evaluate(width)) < 4


def test_who_asks_before_the_page_is_ready_asks_once(open_tab, page, key, photo):
    tab, held, asked = open_tab("about:blank"), {}, []
    for name in ("about", "state"):
        tab.route(
            f"**/api/{name}", lambda route: held.update({route.request.url: route})
        )
    tab.on("request", lambda sent: "/api/ask" in sent.url and asked.append(sent.url))

    def release(name):
        url = f"{page.url}/api/{name}"
        for _ in range(600):
            if url in held:
                return held.pop(url).continue_()
            tab.wait_for_timeout(50)
        raise AssertionError(f"never asked for {url}")

    tab.goto(page.url)
    tab.set_input_files("#file", photo)  # nothing is known yet
    release("about")
    tab.wait_for_selector("#samples img")
    assert not asked
    release("state")
    assert answered(tab, "photo.png")[0] == key
    assert len(asked) == 1

    tab.goto(page.url)
    release("about")
    tab.click("#samples a")  # not all is prepared
    tab.wait_for_selector("#matches a")
    release("state")
    tab.wait_for_load_state("networkidle")
    assert len(asked) == 2
    assert len(keys_of(tab)) == 12


def test_what_takes_longer_than_a_second_says_so(open_tab, page, key):
    tab, held = open_tab(page.url), []
    tab.wait_for_selector("#samples img")
    tab.route("**/api/ask**", lambda route: held.append(route))
    tab.click("#samples a")
    tab.wait_for_selector("#progress:visible")
    assert "Searching" in tab.inner_text("#progress")
    held[0].continue_()
    tab.wait_for_selector("#matches a")
    assert not tab.is_visible("#progress")
