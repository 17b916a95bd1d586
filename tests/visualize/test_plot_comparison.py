"""Figures of a comparison show what was found, and whose it is."""

from dataclasses import replace

import numpy as np
import pytest

from geoimages import KMeansModel, PairwiseModel, Plots, compare
from geoimages.visualize import save_figure


@pytest.fixture(scope="module")
def models(rocks):
    return {
        "pixels": PairwiseModel().fit(rocks),
        "kmeans": KMeansModel(4, random_state=0).fit(rocks),
        "euclid": PairwiseModel(dist_metric="euclidean").fit(rocks),
        "cosine": PairwiseModel(dist_metric="cosine").fit(rocks),
    }


@pytest.fixture(scope="module")
def result(models):
    return compare({name: models[name] for name in ("pixels", "kmeans")}, ks=(1, 5))


def rows_of(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def points(ax):
    """The marks of an axis: one array (rows, 2) for each legend entry."""
    return [np.asarray(part.get_offsets()) for part in ax.collections[1::2]]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_scores_differences_and_overlap(result, tmp_path):
    figure = Plots.comparison(result)
    scores, differences, overlap = figure.axes
    assert rows_of(scores) == [
        "precision@1", "precision@5", "nDCG@5", "R-precision", "MAP@R", "mAP"
    ]  # fmt: skip
    assert legend(scores)[0].startswith("pixels (")
    for marks, name in zip(points(scores), result.models, strict=True):
        np.testing.assert_allclose(
            marks[:, 0], result.table().loc[rows_of(scores), name]
        )
    (marks,) = points(differences)
    better, worse = legend(differences)[0].split(" − ")
    table = result.table().loc[rows_of(scores)]
    np.testing.assert_allclose(marks[:, 0], table[better] - table[worse], atol=1e-12)
    assert marks[0, 0] >= 0
    assert legend(differences)[1:] == ["hollow: not certain"]
    assert rows_of(overlap) == ["Jaccard@1", "Jaccard@5", "RBO"]
    (marks,) = points(overlap)
    np.testing.assert_allclose(marks[:, 0], result.overlap["mean"])
    shown = " ".join(figure.get_suptitle().split())
    assert shown == result.verdict
    save_figure(figure, tmp_path / "a.png")


def test_times_are_read_at_a_glance_and_no_mark_is_clipped(result):
    slow = replace(result, costs=result.costs.assign(batch_ms=[1100.0, 0.25]))
    figure = Plots.comparison(slow)
    assert legend(figure.axes[0]) == [
        "pixels (1.1 s per query)",
        "kmeans (0.25 ms per query)",
    ]
    for ax in figure.axes:
        assert not any(marks.get_clip_on() for marks in ax.collections[1::2])


def test_some_measures_only(result):
    figure = Plots.comparison(result, ["recall@5", "mAP"])
    assert rows_of(figure.axes[0]) == ["recall@5", "mAP"]
    assert rows_of(Plots.comparison(result, "mAP").axes[0]) == ["mAP"]
    with pytest.raises(ValueError, match=r"\['F1'\] must be among.*precision@1"):
        Plots.comparison(result, ["F1"])


def test_of_many_models_the_best_is_compared_with_each(models):
    result = compare(models, ks=5, full=False)
    figure = Plots.comparison(result)
    means = result.table().loc["precision@5"]
    assert len(legend(figure.axes[0])) == 4
    *pairs, hollow = legend(figure.axes[1])
    assert hollow == "hollow: not certain after the correction for 6 pairs"
    assert len(pairs) == 3
    assert all(pair.startswith(f"{means.idxmax()} − ") for pair in pairs)


def test_without_labels_overlap_is_all(models, pictures):
    result = compare({n: models[n] for n in ("pixels", "kmeans")}, pictures[0][:9])
    (ax,) = Plots.comparison(result).axes
    assert ax.get_title() == "Overlap"


def test_each_model_has_a_row(models, rocks):
    key = rocks.keys[3]
    figure = Plots.side_by_side(key, models, rocks, 4)
    assert len(figure.axes) == 1 + 4 * 4
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), rocks[key])
    named = [ax for ax in figure.axes if ax.get_ylabel()]
    assert [ax.get_ylabel() for ax in named] == list(models)
    label = rocks.labels[rocks.position(key)]
    for first, model in zip(named, models.values(), strict=True):
        start = figure.axes.index(first)
        matches = model.predict(key, 4)
        for ax, match in zip(
            figure.axes[start : start + 4], matches.index, strict=True
        ):
            np.testing.assert_array_equal(ax.images[0].get_array(), rocks[match])
            thick = ax.spines["left"].get_linewidth() > 1
            assert thick == (rocks.labels[rocks.position(match)] == label)
    assert label in figure.get_suptitle()


def test_a_picture_of_its_own(models, rocks, pictures):
    figure = Plots.side_by_side(pictures[0][0], models, rocks, 2)
    assert len(figure.axes) == 1 + 4 * 2
    assert figure.get_suptitle() == ""


def test_mistakes(models, rocks):
    with pytest.raises(TypeError, match="models must be a dict"):
        Plots.side_by_side(rocks.keys[0], models["pixels"], rocks)
    with pytest.raises(ValueError, match="not a batch"):
        Plots.side_by_side(rocks[:2], models, rocks)
