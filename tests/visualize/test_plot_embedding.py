"""Maps put every vector where its projection says, in the color of its class."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from mpl_toolkits.mplot3d import Axes3D
from PIL import Image
from sklearn.decomposition import PCA

from geoimages import Plots
from geoimages.visualize import project_vectors, save_figure


@pytest.fixture(scope="module")
def vectors():
    """60 vectors in three groups far apart, and their names."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 20)
    centers = np.repeat(rng.normal(size=(3, 12)) * 10, 20, axis=0)
    return centers + rng.normal(size=(60, 12)), labels


def points(figure):
    """The places and colors of all points of a map."""
    drawn = [dots for ax in figure.axes for dots in ax.collections]
    places = [dots.get_offsets().data for dots in drawn]
    colors = [to_hex(color) for dots in drawn for color in dots.get_facecolors()]
    return np.concatenate(places), np.array(colors)


def legend(figure):
    """Color of each entry of a map's legend."""
    (legend,) = figure.legends or [figure.axes[0].get_legend()]
    names = [text.get_text() for text in legend.get_texts()]
    colors = [to_hex(handle.get_color()) for handle in legend.legend_handles]
    return dict(zip(names, colors, strict=True))


def thumbnails(figure):
    return figure.findobj(AnnotationBbox)


def same_rows(a, b):
    """Whether two arrays hold the same rows, in any order."""
    a, b = (x[np.lexsort(x.T)] for x in (np.asarray(a), np.asarray(b)))
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-4)


def test_svd_is_the_decomposition_of_the_rows(vectors):
    X, _ = vectors
    u, s, _ = np.linalg.svd(X, full_matrices=False)
    got = project_vectors(X, "svd", 3)
    np.testing.assert_allclose(abs(got), abs(u * s)[:, :3], rtol=1e-6)


def test_pca_is_the_decomposition_of_the_centered_rows(vectors):
    X, _ = vectors
    u, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    got = project_vectors(pd.DataFrame(X), "pca")
    np.testing.assert_allclose(abs(got), abs(u * s)[:, :2], rtol=1e-6)


@pytest.mark.parametrize("n_components", [2, 3])
def test_tsne_keeps_groups_together(vectors, n_components):
    X, labels = vectors
    got = project_vectors(X, "tsne", n_components)
    assert got.shape == (60, n_components)
    far = np.linalg.norm(got[:, None] - got, axis=2)
    np.fill_diagonal(far, np.inf)
    assert np.mean(labels[far.argmin(axis=1)] == labels) > 0.95
    np.testing.assert_array_equal(got, project_vectors(X, "tsne", n_components))


@pytest.mark.parametrize("method", ["svd", "pca", "tsne"])
@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (3, 1), (4, 2), (5, 700)])
@pytest.mark.parametrize("n_components", [2, 3])
def test_few_points_and_few_columns(method, shape, n_components):
    X = np.random.default_rng(0).normal(size=shape)
    figure = Plots.embedding_plot(X, None, method, n_components)
    places, _ = points(figure)
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()
    figure.draw_without_rendering()


@pytest.mark.parametrize("method", ["svd", "pca", "tsne"])
def test_equal_vectors_lie_on_one_spot(method, tmp_path):
    figure = Plots.embedding_plot(np.full((7, 4), 3), method=method)
    places, _ = points(figure)
    assert (places == 0).all()
    save_figure(figure, tmp_path / "a.png")


@pytest.mark.parametrize("n_components", [2, 3])
def test_every_point_has_the_color_of_its_class(vectors, n_components):
    X, labels = vectors
    figure = Plots.embedding_plot(X, labels, "pca", n_components)
    expected = PCA(n_components, random_state=0).fit_transform(X)
    entries = legend(figure)
    assert list(entries) == ["a (20)", "b (20)", "c (20)"]
    if n_components == 3:
        (dots,) = figure.axes[0].collections
        places = np.stack(dots._offsets3d, axis=1)
        colors = np.array([to_hex(color) for color in dots.get_facecolors()])
        assert same_rows(places, expected)
        return
    places, colors = points(figure)
    assert same_rows(places, expected)
    for name in "abc":
        here = colors == entries[f"{name} (20)"]
        assert same_rows(places[here], expected[labels == name])


def test_axes_of_a_map_have_one_scale(vectors):
    X, labels = vectors
    figure = Plots.embedding_plot(X * [30, *[1] * 11], labels)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    a, b = ax.transData.transform([[0, 0], [1, 1]])
    np.testing.assert_allclose(*(b - a), rtol=1e-6)
    assert ax.get_xlabel() == "SVD 1"
    cloud = Plots.embedding_plot(X * [30, *[1] * 11], labels, "pca", 3).axes[0]
    limits = np.ptp([cloud.get_xlim(), cloud.get_ylim(), cloud.get_zlim()], axis=1)
    np.testing.assert_allclose(
        limits / limits[0], cloud._box_aspect / cloud._box_aspect[0]
    )
    assert cloud.get_zlabel() == "PCA 3"


def test_labels_of_every_kind(vectors):
    X, _ = vectors
    numbers = legend(Plots.embedding_plot(X, np.arange(60) % 11))
    assert list(numbers)[:2] == ["0 (6)", "1 (6)"]
    assert list(numbers)[-1] == "10 (5)"
    gaps = ["b", None, np.nan, ""] + ["a"] * 56
    entries = legend(Plots.embedding_plot(X, gaps))
    assert list(entries) == ["a (56)", "b (1)", "no label (3)"]
    mixed = legend(Plots.embedding_plot(X, pd.Series(["b", 1] * 30, index=[7] * 60)))
    assert list(mixed) == ["1 (30)", "b (30)"]
    assert list(legend(Plots.embedding_plot(X, ["a"] * 60))) == ["a (60)"]
    bare = Plots.embedding_plot(X)
    assert not bare.legends
    assert bare.axes[0].get_legend() is None


def test_more_classes_than_colors_differ_in_their_marker():
    X = np.random.default_rng(0).normal(size=(46, 4))
    figure = Plots.embedding_plot(X, np.arange(46) // 2)
    handles = figure.legends[0].legend_handles
    assert len({(x.get_color(), x.get_marker()) for x in handles}) == 23
    assert len(points(figure)[0]) == 46


@pytest.fixture(scope="module")
def kinds():
    """Vectors, pictures and labels of thirty classes of several sizes."""
    rng = np.random.default_rng(0)
    labels = np.repeat([f"biotite-muscovite schist {i:02d}" for i in range(30)], 8)
    labels = np.append(labels, ["rare"])
    X = rng.normal(size=(241, 5)) * [4, 2, 1, 1, 1]
    return X, labels, rng.integers(0, 255, (241, 8, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("figsize", [None, (6, 4)])
def test_many_classes_leave_the_map_its_place(kinds, n_components, figsize):
    X, labels, _ = kinds
    figure = Plots.embedding_plot(X, labels, "pca", n_components, figsize=figsize)
    (ax,), (box,), page = figure.axes, figure.legends, figure.bbox
    names = [axis.label for axis in (ax.xaxis, ax.yaxis)]
    names += [ax.zaxis.label] if n_components == 3 else []
    for azim in range(0, 360, 30) if n_components == 3 else [None]:
        if azim is not None:
            ax.view_init(elev=20, azim=azim)
        figure.draw_without_rendering()
        for inside in (box, *names):
            inside = inside.get_window_extent()
            assert page.x0 <= inside.x0 < inside.x1 <= page.x1
            assert page.y0 <= inside.y0 < inside.y1 <= page.y1
        left = box.get_window_extent().x0
        assert max(name.get_window_extent().x1 for name in names) < left
    assert box.get_window_extent().width <= 0.52 * page.width
    entries = list(legend(figure))
    if figsize is None:
        assert len(entries) == 31
        assert "rare (1)" in entries
    else:
        assert entries[-1].startswith("and ")
        assert "rare (1)" not in entries


def test_points_fill_the_frame(kinds):
    X, labels, _ = kinds
    figure = Plots.embedding_plot(X, labels, "pca")
    figure.draw_without_rendering()
    places, _ = points(figure)
    limits = np.array([figure.axes[0].get_xlim(), figure.axes[0].get_ylim()])
    assert (np.ptp(places, axis=0) > 0.7 * np.ptp(limits, axis=1)).all()


def test_thumbnails_are_named_where_colors_come_again(kinds):
    X, labels, images = kinds
    figure = Plots.embedding_plot(X, labels, "pca", images=images, n_thumbnails=9)
    boxes = thumbnails(figure)
    assert 5 <= len(boxes) <= 9
    expected = PCA(2, random_state=0).fit_transform(X.astype(np.float32))
    for box in boxes:
        picture, text = box.offsetbox.get_children()
        nearest = abs(abs(expected) - abs(np.array(box.xy))).sum(axis=1).argmin()
        np.testing.assert_array_equal(picture.get_data(), images[nearest])
        assert text.get_text() in ("rare", f"bioti…chist {labels[nearest][-2:]}")


def test_a_sample_is_drawn_and_said(vectors):
    order = np.random.default_rng(1).permutation(60)
    X, labels = (part[order] for part in vectors)
    figure = Plots.embedding_plot(X, labels, "pca", max_points=30)
    places, colors = points(figure)
    assert len(places) == 30
    assert figure.axes[0].get_title(loc="left").startswith("30 of 60 points")
    counts = [int(name.split("(")[1][:-1]) for name in legend(figure)]
    assert sum(counts) == 30
    # The groups lie far apart, so that neighbors have one color if labels go along.
    far = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(far, np.inf)
    assert (colors[far.argmin(axis=1)] == colors).all()
    again = Plots.embedding_plot(X, labels, "pca", max_points=30)
    np.testing.assert_array_equal(places, points(again)[0])
    other = Plots.embedding_plot(X, labels, "pca", max_points=30, random_state=1)
    assert not same_rows(places, points(other)[0])
    assert not Plots.embedding_plot(X, labels).axes[0].get_title(loc="left")


def test_tsne_draws_a_sample_unless_told(monkeypatch, vectors):
    X, labels = vectors
    monkeypatch.setattr("geoimages.visualize.embedding._TSNE_POINTS", 20)
    assert len(points(Plots.embedding_plot(X, labels, "tsne"))[0]) == 20
    assert len(points(Plots.embedding_plot(X, labels, "tsne", max_points=25))[0]) == 25
    assert len(points(Plots.embedding_plot(X, labels))[0]) == 60


def test_thirty_thousand_points_are_drawn_as_pixels(tmp_path):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(30_000, 4)), rng.integers(6, size=30_000)
    figure = Plots.embedding_plot(X, labels)
    assert len(points(figure)[0]) == 30_000
    save_figure(figure, tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").stat().st_size < 2_000_000


@pytest.mark.parametrize("n_components", [2, 3])
def test_thumbnails_stand_at_their_points(pictures, n_components, tmp_path):
    images, labels = pictures
    X = images.reshape(len(images), -1)[:, ::50]
    figure = Plots.embedding_plot(
        X, labels, "pca", n_components, images=images, n_thumbnails=25
    )
    boxes = thumbnails(figure)
    assert 8 <= len(boxes) <= 25
    figure.draw_without_rendering()
    entries = legend(figure)
    kinds = {f"{name} ({np.sum(labels == name)})": name for name in np.unique(labels)}
    colors = {kinds[entry]: color for entry, color in entries.items()}
    expected = PCA(n_components, random_state=0).fit_transform(X.astype(np.float32))
    for box in boxes:
        drawn = box.offsetbox.get_data()
        (i,) = np.flatnonzero((images == drawn).all(axis=(1, 2, 3)))
        assert to_hex(box.patch.get_edgecolor()) == colors[labels[i]]
        if n_components == 2:
            np.testing.assert_allclose(
                abs(np.array(box.xy)), abs(expected[i]), rtol=1e-3
            )
    extents = [box.get_window_extent() for box in boxes]
    ground = figure.axes[0].get_window_extent()
    for i, one in enumerate(extents):
        assert one.x0 >= ground.x0
        assert one.y1 <= ground.y1
        assert not any(one.overlaps(other) for other in extents[:i])
    save_figure(figure, tmp_path / "a.png")


def test_thumbnails_of_any_picture(rocks, vectors):
    X, labels = vectors
    collection = Plots.embedding_plot(X, labels, images=rocks)
    box = thumbnails(collection)[0]
    places, _ = points(collection)
    assert any(np.allclose(box.xy, place) for place in places)
    for shape in ((60, 9, 9), (60, 9, 9, 1), (60, 9, 9, 4), (60, 200, 100, 3)):
        figure = Plots.embedding_plot(X, images=np.zeros(shape), n_thumbnails=3)
        assert len(thumbnails(figure)) == 3
        picture = thumbnails(figure)[0].offsetbox.get_data()
        assert picture.dtype == np.uint8
        assert picture.shape == ((96, 48, 3) if shape[1] == 200 else (9, 9, 3))
        # What is masked is shown on white.
        assert (picture == (255 if shape[-1] == 4 else 0)).all()
    none = Plots.embedding_plot(X, images=rocks, n_thumbnails=0)
    assert not thumbnails(none)


def test_maps_on_axes_that_are_given(vectors):
    X, labels = vectors
    figure = Figure()
    flat, cloud = (
        figure.add_subplot(1, 2, 1),
        figure.add_subplot(1, 2, 2, projection="3d"),
    )
    assert Plots.embedding_plot(X, labels, ax=flat) is figure
    assert Plots.embedding_plot(X, labels, "pca", 3, ax=cloud) is figure
    assert not figure.legends
    for ax in (flat, cloud):
        assert len(ax.get_legend().get_texts()) == 3
    with pytest.raises(
        ValueError, match="3 dimensions cannot be drawn on 'rectilinear' axes"
    ):
        Plots.embedding_plot(X, labels, "pca", 3, ax=flat)
    with pytest.raises(ValueError, match="2 dimensions cannot be drawn on '3d' axes"):
        Plots.embedding_plot(X, labels, ax=cloud)


def test_bad_input_is_said(vectors):
    X, labels = vectors
    gaps = X.copy()
    gaps[[3, 9], 2] = np.nan, np.inf
    cases = [
        ((gaps,), {}, "NaN or infinity in 2 of 60 rows, first in row 3"),
        ((X[0],), {}, r"\(n, n_features\), got \(12,\)"),
        ((X[:0],), {}, r"got \(0, 12\)"),
        ((X.astype(str),), {}, "must be numbers"),
        ((X, labels[:5]), {}, "got 60 vectors and 5 labels"),
        ((X, "marble"), {}, "got 60 vectors and 0 labels"),
        ((X, labels, "umap"), {}, "method='umap' is not known"),
        ((X, labels, "svd", 4), {}, "n_components must be 2 or 3, got 4"),
        ((X,), {"images": np.zeros((3, 4, 4, 3))}, "got 60 vectors and 3 pictures"),
        ((X,), {"max_points": 0}, "max_points must be 1 or more, got 0"),
    ]
    for given, options, match in cases:
        with pytest.raises(ValueError, match=match):
            Plots.embedding_plot(*given, **options)


def test_an_animation_turns_once_around(vectors, tmp_path, monkeypatch):
    X, labels = vectors
    turns, places, view_init = [], [], Axes3D.view_init

    def watched(self, *args, **view):
        if view.get("elev") == 20:
            turns.append(view["azim"])
            places.append(self.get_position().bounds)
        view_init(self, *args, **view)

    monkeypatch.setattr(Axes3D, "view_init", watched)
    path = Plots.embedding_animation(
        tmp_path / "map.gif", X, labels, n_frames=8, fps=10
    )
    assert path == tmp_path / "map.gif"
    with Image.open(path) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 8
        assert gif.info["loop"] == 0
        assert gif.info["duration"] == 100
        frames = []
        for i in range(8):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB"), int))
    assert (frames[0][0, 0] == 255).all()
    assert turns == [0, 45, 90, 135, 180, 225, 270, 315]
    assert len(set(places)) == 1
    # The last picture is as near to the first as the first is to the second.
    after = frames[1:] + frames[:1]
    steps = [abs(a - b).mean() for a, b in zip(frames, after, strict=True)]
    assert min(steps) > 0
    assert steps[-1] < 1.5 * np.median(steps)
    # The legend stands still.
    right = [frame[:, int(0.92 * frame.shape[1]) :] for frame in frames]
    assert all((abs(part - right[0]) < 40).all() for part in right)
    assert [file.name for file in tmp_path.iterdir()] == ["map.gif"]


def test_an_animation_without_labels_or_of_a_sample(vectors, tmp_path):
    X, _ = vectors
    path = Plots.embedding_animation(
        str(tmp_path / "a.GIF"), X, method="tsne", n_frames=2, max_points=None
    )
    assert path.stat().st_size > 1000


def test_a_failed_animation_leaves_the_file_as_it_was(vectors, tmp_path, monkeypatch):
    X, labels = vectors
    path = tmp_path / "map.gif"
    path.write_bytes(b"old")
    for options, match in (
        ({"n_frames": 1}, "n_frames must be 2 or more, got 1"),
        ({"fps": 0}, "fps must be from 1 to 50, got 0"),
        ({"fps": 60}, "got 60"),
    ):
        with pytest.raises(ValueError, match=match):
            Plots.embedding_animation(path, X, labels, **options)
    with pytest.raises(ValueError, match=r"must end in .gif, got '.*map.png'"):
        Plots.embedding_animation(tmp_path / "map.png", X, labels)

    def fail(frames, path, duration):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("geoimages.visualize.embedding._to_gif", fail)
    with pytest.raises(OSError, match="disk full"):
        Plots.embedding_animation(path, X, labels, n_frames=2)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["map.gif"]
