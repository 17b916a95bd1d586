"""What a notebook shows: a collection with its pictures, results with their tables."""

import base64
import inspect
import io
import re
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import BaseEstimator

import geoimages
from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    Plots,
    RockFeatures,
    compare,
    preference,
)
from geoimages.collection import html as html_module

PNG = re.compile(r'<img [^>]*width="(\d+)" height="(\d+)"[^>]*base64,([^"]+)"')


class Text(HTMLParser):
    """The text of a page; elements that do not close are an error."""

    def __init__(self, html):
        super().__init__()
        self.open, self.names, self.texts = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def strips_of(html):
    """The strips of thumbnails in a page: [((width, height) as shown, picture)]."""
    return [
        ((int(width), int(height)), Image.open(io.BytesIO(base64.b64decode(png))))
        for width, height, png in PNG.findall(html)
    ]


@pytest.fixture
def written(tmp_path):
    """Write a small collection of random pictures, all told by their labels."""

    def write(labels, shape=(8, 8, 3), keys=None, name="some.h5"):
        images = np.random.default_rng(0).integers(
            0, 255, (len(labels), *shape), dtype=np.uint8, endpoint=True
        )
        images[:, 0, 0] = 255  # a mask is never empty
        return Collection.from_arrays(tmp_path / name, images, labels, keys)

    return write


def test_a_collection_shows_classes_pictures_and_what_became_of_the_files(rocks):
    html = rocks._repr_html_()
    text = Text(html)
    told = " ".join(text.texts)
    assert "rocks.h5 : 60 pictures of 28 × 28, " in told
    assert f"{rocks.path.stat().st_size / 1e6:.1f} MB" in told
    assert str(rocks.keys[0]) in text.texts
    assert "63 files seen: 60 kept, 3 refused (" in told
    assert "truncated 1" in told
    cells = text.texts[text.texts.index("andesite") :][:2]
    assert cells == ["andesite", "10"]
    strips = strips_of(html)
    assert len(strips) == 6
    for (width, height), strip in strips:
        assert (width, height) == (2 * strip.width, 2 * strip.height)
        assert strip.height == 28
    # The first picture of the first class stands in the first strip, pixel by pixel.
    first = np.asarray(strips[0][1])[:28, :28, :3]
    np.testing.assert_array_equal(first, rocks[int(rocks.where(label="andesite")[0])])


def test_it_takes_the_colors_of_the_page(rocks):
    html = PNG.sub("", rocks._repr_html_())
    assert not re.search(r"color|background|#[0-9a-f]{3}|white|black", html)


def test_names_are_text_not_html(written):
    hostile = '<script>alert("x")</script>&amp;'
    rocks = written([hostile, "marble"], keys=["<b>key</b>", "k2"], name="<i>&.h5")
    html = rocks._repr_html_()
    text = Text(html)
    assert hostile in "".join(text.texts)
    assert "<b>key</b>" in "".join(text.texts)
    assert "<i>&.h5" in "".join(text.texts)
    assert not {"script", "i"} & set(text.names)
    assert text.names.count("b") == 1  # that of the file's name


def test_a_closed_collection_shows_its_plain_text(written):
    rocks = written(["marble"])
    plain = repr(rocks)
    assert rocks._repr_html_()
    rocks.close()
    assert rocks._repr_html_() is None
    assert repr(rocks) == plain
    assert plain.endswith("1 pictures, 8 × 8 × 3; marble 1)")


def test_a_file_that_was_removed_is_still_shown(written):
    rocks = written(["marble", "schist"])
    rocks.path.unlink()
    assert "2 pictures" in " ".join(Text(rocks._repr_html_()).texts)


def test_few_pictures_are_read(written, monkeypatch):
    rocks = written(["marble"] * 300 + ["schist"] * 2)
    read = []
    monkeypatch.setattr(
        Collection,
        "__getitem__",
        lambda self, item, take=Collection.__getitem__: (
            read.extend(np.ravel(item)) or take(self, item)
        ),
    )
    rocks._repr_html_()
    assert sorted(read) == [0, 99, 199, 299, 300, 301]


def test_fewer_are_read_of_large_ones(written, monkeypatch):
    monkeypatch.setattr(html_module, "_MOST_BYTES", 3 * 8 * 8 * 3)
    rocks = written(["a", "a", "b", "b", "c", "d"])
    html = rocks._repr_html_()
    assert len(strips_of(html)) == 3
    assert html.count("<tr>") == 5


def test_large_pictures_are_shrunk(written):
    (shown, strip), *_ = strips_of(written(["a"], (100, 300, 3))._repr_html_())
    assert shown == strip.size
    assert strip.height == 19
    assert 56 <= strip.width <= 60


def test_what_is_no_rock_lets_the_page_through(written):
    rocks = written(["a", ""], (8, 8, 4))
    html = rocks._repr_html_()
    text = Text(html)
    assert "with masks" in " ".join(text.texts)
    assert text.texts[text.texts.index("no label") :][1] == "1"
    strip = np.asarray(strips_of(html)[0][1])
    np.testing.assert_array_equal(strip[:8, :8, 3], rocks[0][..., 3])


def test_of_many_classes_the_rest_is_counted(written):
    rocks = written([f"class {i:02d}" for i in range(30)])
    text = Text(rocks._repr_html_())
    assert text.texts[text.texts.index("10 more") :][1] == "10"
    assert "class 19" in text.texts
    assert "class 20" not in text.texts


def test_the_file_of_the_proof_of_concept_has_no_ledger(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["X_Train_Orig"] = np.zeros((3, 8, 8, 3), np.uint8)
        file["Y_Train_Orig"] = np.array([b"marble", b"schist", b"marble"])
    html = Collection(tmp_path / "old.h5")._repr_html_()
    assert "files seen" not in html
    assert "marble" in Text(html).texts


def models():
    """Every public estimator, as it comes."""
    found = []
    for name in geoimages.__all__:
        public = getattr(geoimages, name)
        if inspect.isclass(public) and issubclass(public, BaseEstimator):
            given = ["net.onnx"] if name == "PretrainedFeatures" else []
            found.append(public(*given))
    return found


@pytest.mark.parametrize("model", models(), ids=lambda m: type(m).__name__)
def test_models_show_the_diagram_of_scikit_learn(model):
    html = model._repr_mimebundle_()["text/html"]
    assert 'class="sk-top-container' in html
    assert type(model).__name__ in html


def test_a_fitted_model_shows_its_diagram(pictures):
    model = PairwiseModel(features=RockFeatures()).fit(*pictures)
    html = model._repr_mimebundle_()["text/html"]
    assert "RockFeatures" in html
    assert len(html) < 100_000  # no pictures in it


def test_figures_show_themselves_without_pyplot():
    figure = Plots.elbow_plot([1, 2, 3], [9, 3, 2])
    shown = Image.open(io.BytesIO(figure._repr_png_()))
    assert shown.format == "PNG"
    assert 400 < shown.width < 700
    corner = np.asarray(shown.convert("RGBA"))[0, 0]
    assert corner.tolist() == [255, 255, 255, 255]  # legible on a dark page, too


def test_a_comparison_shows_its_verdict_and_tables(rocks):
    models = {
        "<b>a</b>": PairwiseModel().fit(rocks),
        "b": KMeansModel(random_state=0).fit(rocks),
    }
    html = compare(models, 30, full=False)._repr_html_()
    assert "<b>a</b>" not in html
    assert html.count("<table") == 3


def test_a_preference_shows_its_verdict_and_tables():
    votes = pd.DataFrame(
        {
            "trial": range(20),
            "query": range(20),
            "voter": "Ada",
            "choice": ["left"] * 15 + ["right"] * 5,
            "seconds": 1.0,
            "left_model": "<i>a</i>",
            "right_model": "b",
            "repeat_of": "",
        }
    )
    found = preference(votes)
    assert repr(found) == found.verdict
    html = found._repr_html_()
    assert html.startswith("<p><b>People prefer &lt;i&gt;a&lt;/i&gt; to b")
    assert "<i>" not in html
    assert html.count("<table") == 2
