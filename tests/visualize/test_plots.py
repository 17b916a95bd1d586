"""Plots draw what they are given, in order, with what a person needs to read them."""

import gc
import itertools
import weakref

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from geoimages import (
    Images,
    KMeansModel,
    PairwiseModel,
    Plots,
    RockFeatures,
    suggest_elbow,
)
from geoimages.visualize import save_figure


@pytest.fixture(scope="module")
def model(rocks):
    return PairwiseModel().fit(rocks)


def drawn(figure):
    """The pictures of a figure, axis by axis."""
    return [ax.images[0].get_array() for ax in figure.axes]


@pytest.mark.parametrize("k", [1, 2, 3, 7, 8, 30])
def test_matches_of_any_number(model, rocks, k, tmp_path):
    key = rocks.keys[3]
    matches = model.predict(key, k)
    figure = Plots.plot_matches(matches, rocks, candidate=key)
    assert len(figure.axes) == k + 1
    np.testing.assert_array_equal(drawn(figure)[0], rocks[key])
    for image, ax, (match, row) in zip(
        drawn(figure)[1:], figure.axes[1:], matches.iterrows(), strict=True
    ):
        np.testing.assert_array_equal(image, rocks[match])
        caption = ax.get_xlabel()
        assert match in caption
        assert rocks.labels[rocks.position(match)] in caption
        assert f"{row['similarity']:.3f}" in caption
    assert "candidate" in figure.axes[0].get_xlabel()
    save_figure(figure, tmp_path / "a.png")


def test_matches_by_metadata_of_files(tmp_path, rock_zip, rocks, model):
    images = Images(tmp_path / "images")
    images.unzip_images(rock_zip)
    metadata = images.generate_image_metadata()
    matches = model.predict(rocks.keys[0], 4)
    files = Plots().plot_matches(matches, metadata, candidate=rocks[0])
    collection = Plots.plot_matches(matches, rocks, candidate=rocks[0])
    for a, b in zip(files.axes, collection.axes, strict=True):
        np.testing.assert_array_equal(a.images[0].get_array(), b.images[0].get_array())
        assert a.get_xlabel() == b.get_xlabel()
    with pytest.raises(KeyError, match="not in the metadata's images"):
        Plots.plot_matches(matches, {"images": {}, "dirs": {}})
    with pytest.raises(ValueError, match="generate_image_metadata"):
        Plots.plot_matches(matches, {"a": 1})


def test_a_label_without_its_folder_is_shown_as_a_number(draw, model, rocks):
    path = draw("a.png")
    matches = model.predict(rocks.keys[0], 1)
    about = {"file_path": str(path), "label": 5}
    figure = Plots.plot_matches(matches, {"images": {matches.index[0]: about}})
    assert "5" in figure.axes[0].get_xlabel().split("\n")


def test_a_batch_has_a_row_for_each_candidate(model, rocks):
    keys = list(rocks.keys[[0, 20]])
    matches = model.predict(keys, 3)
    figure = Plots.plot_matches(matches, rocks)
    assert len(figure.axes) == 8
    np.testing.assert_array_equal(drawn(figure)[4], rocks[keys[1]])
    pixels = model.predict(rocks[[0, 20]], 3)
    assert len(Plots.plot_matches(pixels, rocks).axes) == 6
    for candidate in (list(rocks[[0, 20]]), {0: rocks[0], 1: rocks[20]}):
        assert len(Plots.plot_matches(pixels, rocks, candidate).axes) == 8


def test_the_candidate_of_one_query_needs_no_list(model, rocks):
    key = rocks.keys[3]
    flat = rocks[3].reshape(-1)
    row = rocks.to_frame().iloc[3]
    for matches in (model.predict([key], 2), model.predict(key, 2)):
        for candidate in (key, [key], rocks[3], rocks[3:4], flat, flat[None], row):
            figure = Plots.plot_matches(matches, rocks, candidate)
            assert len(figure.axes) == 3
            first = drawn(figure)[0]
            scale = 255 if first.dtype.kind == "f" else 1
            np.testing.assert_allclose(first * scale, rocks[3], atol=1e-4)
    frame = Plots.plot_matches(model.predict(rocks[[3, 9]], 2), rocks, rocks[[3, 9]])
    np.testing.assert_array_equal(drawn(frame)[3], rocks[9])


def test_flat_rows_of_another_size_are_shaped_by_their_length(model, rocks):
    matches = model.predict(rocks.keys[0], 1)
    square = Plots.plot_matches(matches, rocks, np.zeros(12, np.uint8))
    assert drawn(square)[0].shape == (2, 2, 3)
    line = Plots.plot_matches(matches, rocks, np.zeros(7))
    assert drawn(line)[0].shape == (1, 7)


def test_candidates_of_another_number_are_said(model, rocks):
    matches = model.predict(rocks.keys[:2].tolist(), 2)
    for candidate in (rocks.keys[0], list(rocks[:3]), rocks[:1]):
        with pytest.raises(ValueError, match="each of the 2 queries, got [13]"):
            Plots.plot_matches(matches, rocks, candidate)


def test_grey_float_and_masked_candidates(model, rocks):
    matches = model.predict(rocks.keys[0], 2)
    grey = Plots.plot_matches(matches, rocks, candidate=np.zeros((9, 9), np.uint8))
    assert grey.axes[0].images[0].get_cmap().name == "gray"
    masked = np.zeros((9, 9, 4))
    figure = Plots.plot_matches(matches, rocks, candidate=masked)
    assert (drawn(figure)[0] == 1).all()


def table(rocks, n=4, **columns):
    """A ranked table of the first pictures, at distances 0, 0.1, 0.2, …"""
    distance = np.arange(n) / 10
    head = {"correlation": distance, "similarity": 1 - distance}
    return pd.DataFrame(head | columns, index=pd.Index(rocks.keys[:n], name="key"))


def captions(figure):
    return [ax.get_xlabel().split("\n") for ax in figure.axes]


def bars(ax):
    """Each share's start and width below a picture, in widths of the picture."""
    boxes = [patch for patch in ax.patches if patch.get_label()]
    return {box.get_label(): (box.get_x(), box.get_width()) for box in boxes}


def test_captions_show_rotation_and_mirroring(rocks):
    found = table(
        rocks,
        6,
        orientation=[0.0, 90.0, 33.34, -30.0, 359.97, np.nan],
        mirrored=[False, True, False, False, True, False],
    )
    told = [caption[1:] for caption in captions(Plots.plot_matches(found, rocks))]
    assert told == [
        ["similarity 1.000"],
        ["similarity 0.900", "rotated 90°, mirrored"],
        ["similarity 0.800", "rotated 33.3°"],
        ["similarity 0.700", "rotated 330°"],
        ["similarity 0.600", "mirrored"],
        ["similarity 0.500"],
    ]


def test_a_reranked_table_tells_both(rocks):
    found = table(rocks, 2)
    found.insert(0, "verification", [0.25, 0.5])
    figure = Plots.plot_matches(found, rocks)
    told = [caption[1:] for caption in captions(figure)]
    assert told == [
        ["similarity 1.000", "verification 0.250"],
        ["similarity 0.900", "verification 0.500"],
    ]
    # Neither distance is a share of itself.
    assert not figure.legends
    assert not any(bars(ax) for ax in figure.axes)


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("shares", [False, True])
def test_captions_are_whole(rocks, k, rotated, shares):
    found = table(rocks, k, same=0.01)
    found.insert(0, "verification", 0.5)
    if rotated:
        found = found.assign(orientation=90.0, mirrored=True)
    if shares:
        found = found.assign(color=0.1, conv=0.2)
    for candidate, dpi in itertools.product([None, rocks.keys[5]], [72, 100, 150]):
        figure = Plots.plot_matches(found, rocks, candidate)
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        for ax in figure.axes:
            box = ax.xaxis.label.get_window_extent()
            assert box.y0 >= 0, (candidate, dpi)
            below = [
                other.get_window_extent().y1
                for other in figure.axes
                if other.get_window_extent().y1 < ax.get_window_extent().y0
            ]
            if figure.legends:
                below.append(figure.legends[0].get_window_extent().y1)
            assert box.y0 >= max(below, default=0), (candidate, dpi)


def test_a_candidate_that_was_not_found_again_is_said_to_be(rocks):
    found = table(rocks, 2, same=[0.62, 0.01], color=[0.1, 0.2])
    found.insert(0, "verification", [0.2, 0.5])
    figure = Plots.plot_matches(found, rocks, rocks.keys[5])
    candidate, first, _ = captions(figure)
    assert "not found again" not in candidate
    assert first[-2:] == ["verification 0.200", "62% the same picture"]
    title = figure.legends[0].get_title().get_text()
    assert "the correlation distance, not of the verification that orders" in title
    lost = Plots.plot_matches(found.assign(same=0.4), rocks, rocks.keys[5])
    assert "not found again" in captions(lost)[0]
    assert [patch.get_text() for patch in lost.legends[0].get_texts()] == ["color"]


def test_shares_are_bars_on_one_scale(rocks, tmp_path):
    found = table(
        rocks,
        3,
        color=[0.0, 0.06, 0.15],
        conv=[0.0, 0.04, 0.05],
        orientation=90.0,
        known=["a", "b", "c"],
        checked=True,
    )
    figure = Plots.plot_matches(found, rocks, candidate=rocks.keys[5])
    candidate, first, second, third = figure.axes
    assert bars(candidate) == {}
    assert [width for _, width in bars(first).values()] == [0, 0]
    half = {"color": (0, 0.3), "conv": (0.3, 0.2)}
    full = {"color": (0, 0.75), "conv": (0.75, 0.25)}
    for ax, expected in ((second, half), (third, full)):
        assert list(bars(ax)) == list(expected)
        for name, place in bars(ax).items():
            np.testing.assert_allclose(place, expected[name], atol=1e-12)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["color", "conv"]
    assert "0.2)" in legend.get_title().get_text()
    drawn = {patch.get_label(): patch.get_facecolor() for patch in third.patches}
    for patch, name in zip(legend.get_patches(), ["color", "conv"], strict=True):
        assert patch.get_facecolor() == drawn[name]
    save_figure(figure, tmp_path / "a.png")


def test_bars_lie_between_the_picture_and_its_caption(rocks):
    figure = Plots.plot_matches(table(rocks, 9, color=0.1, conv=0.2), rocks)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    for ax in figure.axes:
        label = ax.xaxis.label.get_window_extent()
        for patch in ax.patches:
            box = patch.get_window_extent()
            assert label.y1 <= box.y0 < box.y1 <= ax.get_window_extent().y0
        assert legend.y1 <= label.y0


def test_negative_and_missing_shares(rocks):
    found = table(rocks, 2, color=[0.3, np.nan], conv=[-0.1, 0.1])
    first, second = Plots.plot_matches(found, rocks).axes
    np.testing.assert_allclose(bars(first)["color"], (0.25, 0.75))
    np.testing.assert_allclose(bars(first)["conv"], (0.25, -0.25))
    np.testing.assert_allclose(bars(second)["color"], (0.25, 0))
    np.testing.assert_allclose(bars(second)["conv"], (0.25, 0.25))
    nothing = Plots.plot_matches(table(rocks, 2, color=0.0), rocks)
    assert bars(nothing.axes[1]) == {"color": (0, 0)}


def test_bars_of_a_batch_share_one_scale(rocks):
    parts = [table(rocks, 2, color=[0.1, 0.2]), table(rocks, 2, color=[0.3, 0.4])]
    batch = pd.concat(parts, keys=["x", "y"], names=["query", "key"])
    figure = Plots.plot_matches(batch, rocks)
    widths = [bars(ax)["color"][1] for ax in figure.axes]
    np.testing.assert_allclose(widths, [0.25, 0.5, 0.75, 1])
    assert len(figure.legends) == 1


def test_nothing_to_plot(model, rocks):
    matches = model.predict(rocks.keys[0], 2).iloc[:0]
    with pytest.raises(ValueError, match="no rows"):
        Plots.plot_matches(matches, rocks)


def test_long_keys_are_shortened(rocks):
    from geoimages.visualize.panels import shorten

    assert shorten("marble.MGN0Z") == "marble.MGN0Z"
    short = shorten("drillcore.hole-BH12-depth-0103.50")
    assert len(short) <= 18
    assert short.endswith("0103.50")


def test_long_names_are_broken_before_they_are_cut():
    from geoimages.visualize.panels import caption_lines

    assert caption_lines("marble.MGN0Z") == ["marble.MGN0Z"]
    key = "drillcore.hole-BH12-depth-0103.50"
    assert caption_lines(key) == ["drillcore.hole-BH12-", "depth-0103.50"]
    assert caption_lines("x" * 30) == ["x" * 24, "x" * 6]
    first, second = caption_lines("x" * 60)
    assert len(first) == len(second) == 24
    assert "…" in first + second


def test_a_block_has_one_color_in_all_figures(rocks):
    def colors(**weights):
        model = PairwiseModel(3, features=RockFeatures(**weights)).fit(rocks)
        matches = model.predict(rocks.keys[0], explain=True)
        (legend,) = Plots.plot_matches(matches, rocks).legends
        handles = zip(legend.get_texts(), legend.get_patches(), strict=True)
        return {text.get_text(): patch.get_facecolor() for text, patch in handles}

    every, some = colors(), colors(color=0)
    assert len(set(every.values())) == len(every) == 4
    assert some == {name: every[name] for name in some}
    assert "color" not in some


def test_a_query_is_drawn_in_its_own_aspect(rocks):
    matches = PairwiseModel(3).fit(rocks).predict(rocks[0])
    query = np.zeros((2000, 500, 3), np.uint8)
    figure = Plots.plot_matches(matches, rocks, query)
    assert figure.axes[0].images[0].get_array().shape == (512, 128, 3)


def test_confusion_of_many_classes_is_sorted_and_legible():
    rng = np.random.default_rng(0)
    names = np.array([f"rock of the kind {i:02d}" for i in range(30)])
    y = rng.integers(0, 30, 900)
    taken = np.where(rng.random(900) < 0.3, (y + 15) % 30, y)  # 00 for 15, and so on
    figure = Plots.confusion_matrix(names[y], names[taken])
    (ax,) = figure.axes
    assert ax.get_title() == f"accuracy {np.mean(y == taken):.3f}, 900 pictures"
    figure.draw_without_rendering()
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    order = [int(label.get_text()[-2:]) for label in ax.get_yticklabels()]
    assert sorted(order) == list(range(30))
    places = np.argsort(order)
    assert (abs(places[:15] - places[15:]) == 1).all()
    few = Plots.confusion_matrix(["b", "a", "c"], ["b", "a", "a"]).axes[0]
    assert [label.get_text() for label in few.get_yticklabels()] == ["a", "b", "c"]


def test_elbow_plot_marks_the_suggestion():
    clusters, inertias = range(1, 8), [100, 60, 25, 20, 17, 15, 14]
    figure = Plots.elbow_plot(clusters, inertias)
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), inertias)
    text = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "suggested: 3 (farthest below that line)" in text
    again = Plots.elbow_plot(clusters, inertias, ax=ax)
    assert again is figure
    short = Plots.elbow_plot([2, 3], [5, 4])
    (text,) = short.axes[0].get_legend().get_texts()
    assert text.get_text() == "no clear elbow"


def test_elbow_plot_of_unequal_lengths():
    with pytest.raises(ValueError, match="got 3 numbers and 2 inertias"):
        Plots.elbow_plot([1, 2, 3], [5, 4])
    with pytest.raises(ValueError, match="got 0 numbers"):
        Plots.elbow_plot([], [])


def test_elbow_by_hand():
    # Of log 16 = 4 log 2 in all, 3 log 2 are gained by half of log 4: 1/4 below the line.
    assert suggest_elbow([1, 2, 4], [16, 2, 1]) == 2
    assert suggest_elbow([4, 2, 1, 8], [1, 2, 16, 0]) == 2
    assert suggest_elbow([1, 2, 4], [4, 2, 1]) is None  # a power law
    assert suggest_elbow([1, 2], [5, 4]) is None
    assert suggest_elbow([1, 2, 3], [5, 5, 5]) is None
    assert suggest_elbow([1, 2, 3], [3, 2.5, 2]) is None
    assert suggest_elbow([2, 2, 2], [3, 2, 1]) is None
    assert suggest_elbow([1, 2, 3], [5, 1, 5]) is None


@pytest.mark.parametrize("dimensions", [2, 5, 20])
def test_clusters_have_an_elbow_and_random_rows_have_none(dimensions):
    def elbow(X):
        model = KMeansModel(random_state=0).fit(X)
        return suggest_elbow(range(1, 11), model.model_inertias(range(1, 11)))

    rng = np.random.default_rng(0)
    assert elbow(rng.random((500, dimensions))) is None
    assert elbow(rng.normal(size=(500, dimensions))) is None
    for n in (3, 5):
        centers = 10 * np.arange(n)[:, None] * (-1) ** np.arange(dimensions)
        X = centers[rng.integers(n, size=500)] + rng.normal(size=(500, dimensions))
        assert elbow(X) == n


def test_pyplot_sees_the_last_figure_and_keeps_no_other(tmp_path, capsys):
    plt.close("all")
    figures = [weakref.ref(Plots.elbow_plot([1, 2, 4], [16, 2, 1])) for _ in range(25)]
    assert plt.gcf() is figures[-1]()
    plt.savefig(tmp_path / "a.png")
    Plots.elbow_plot([1, 2, 4], [16, 2, 1]).savefig(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(plt.get_fignums()) == 1
    gc.collect()
    assert not any(figure() for figure in figures)
    plt.gcf()._ipython_display_()  # as the last line of a cell does
    assert not plt.get_fignums()


def test_sample_sheet_shows_members_of_each_class(rocks):
    figure = Plots.sample_sheet(rocks, n_per_class=3)
    assert len(figure.axes) == 18
    rows = [figure.axes[i : i + 3] for i in range(0, 18, 3)]
    for name, row in zip(rocks.classes, rows, strict=True):
        assert row[0].get_ylabel() == f"{name}\n10"
        members = rocks[rocks.where(label=name)]
        for ax in row:
            image = ax.images[0].get_array()
            assert (members == image).all(axis=(1, 2, 3)).any()


def test_sample_sheet_of_arrays_and_of_few_pictures(pictures):
    images, labels = pictures
    figure = Plots.sample_sheet(images[:5], ["a", "b", "a", "a", "a"])
    assert len(figure.axes) == 5
    assert len(Plots.sample_sheet(images[:5]).axes) == 5
    large = np.zeros((2, 300, 400, 3), np.uint8)
    sheet = Plots.sample_sheet(large)
    assert sheet.axes[0].images[0].get_array().shape == (300, 400, 3)
    sheet = Plots.sample_sheet(np.zeros((1, 600, 1200, 3), np.uint8))
    assert sheet.axes[0].images[0].get_array().shape == (256, 512, 3)
    with pytest.raises(ValueError, match="n_per_class must be 1 or more, got 0"):
        Plots.sample_sheet(images[:5], n_per_class=0)
    with pytest.raises(ValueError, match="got 5 pictures and 2 labels"):
        Plots.sample_sheet(images[:5], ["a", "b"])


def test_a_figure_is_written_whole_or_not_at_all(tmp_path):
    figure = Plots.elbow_plot([1, 2, 3], [3, 2, 1.5])
    save_figure(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="xyz"):
        save_figure(figure, tmp_path / "a.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pdf"]
