"""Model comparison: scores, paired tests, overlap, costs and the verdict."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    compare,
    recall_against_exact,
    retrieval_scores,
)
from geoimages.evaluate import Comparison, holm, jaccard, paired_permutation_test
from geoimages.evaluate.verdict import labeled_verdict


@pytest.fixture(scope="module")
def models(pictures):
    images, labels = pictures[0][:80], pictures[1][:80]
    models = {
        "pixels": PairwiseModel(),
        "kmeans": KMeansModel(6, random_state=0),
        "euclid": PairwiseModel(dist_metric="euclidean"),
    }
    return {name: model.fit(images, labels) for name, model in models.items()}


@pytest.fixture(scope="module")
def queries(pictures):
    return pictures[0][80:], pictures[1][80:]


@pytest.fixture(scope="module")
def result(models, queries):
    return compare(models, *queries, ks=(1, 5))


def test_scores_are_those_of_each_model_alone(result, models, queries):
    assert isinstance(result, Comparison)
    for name, model in models.items():
        alone = retrieval_scores(model, *queries, ks=(1, 5))
        pd.testing.assert_frame_equal(
            result.per_query.xs(name, axis=1, level="model"),
            alone.per_query,
            check_names=False,
        )
        ours = result.scores[result.scores["model"] == name].set_index("measure")
        theirs = alone.scores[alone.scores["class"] == "all"].set_index("measure")
        columns = ["mean", "low", "high"]
        pd.testing.assert_frame_equal(ours[columns], theirs[columns])


def test_differences_are_paired_and_corrected(result):
    table = result.differences
    assert len(table) == 3 * 9
    for row in table.itertuples():
        a = result.per_query[row.measure, row.model]
        b = result.per_query[row.measure, row.other]
        assert row.difference == pytest.approx((a - b).mean())
        assert row.low <= row.difference <= row.high
        alone = paired_permutation_test((a - b).to_numpy())
        assert row.p_value == pytest.approx(alone, abs=0.02)
    for _, rows in table.groupby("measure"):
        np.testing.assert_allclose(rows["p_corrected"], holm(rows["p_value"]))
    # Both rank all pictures alike, so that mAP cannot tell them apart.
    same = table[(table["measure"] == "mAP") & (table["other"] == "kmeans")]
    assert same["difference"].item() == 0
    assert same["p_corrected"].item() == 1


def test_overlap_is_that_of_the_answers(result, models, queries):
    found = {name: model.kneighbors(queries[0], 5)[1] for name, model in models.items()}
    for row in result.overlap[result.overlap["measure"] == "Jaccard@5"].itertuples():
        wanted = jaccard(found[row.model], found[row.other]).mean()
        assert row.mean == pytest.approx(wanted)
        assert row.low <= row.mean <= row.high
    assert result.overlap["mean"].between(0, 1).all()


@pytest.mark.parametrize("algorithm", ["partitioned", "faiss"])
def test_approximate_models_are_asked_for_as_many_answers_as_are_scored(algorithm):
    if algorithm == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows, labels = rng.random((1500, 16)), rng.integers(0, 3, 1500)
    frame = pd.DataFrame(rows, index=[f"rock.{i}" for i in range(1500)])
    options = {"faiss_factory": "IVF30,Flat"} if algorithm == "faiss" else {}
    models = {
        "exact": PairwiseModel(dist_metric="euclidean"),
        "rough": PairwiseModel(
            dist_metric="euclidean", algorithm=algorithm, recall_target=0.3, **options
        ),
    }
    models = {name: model.fit(frame, labels) for name, model in models.items()}
    assert models["rough"].recall_ < 0.8
    result = compare(models, 60, ks=10)
    queries = list(result.per_query.index.get_level_values("query"))
    found = [model.kneighbors(queries, 10)[1] for model in models.values()]
    overlap = result.overlap.set_index("measure")["mean"]
    assert overlap["Jaccard@10"] == pytest.approx(jaccard(*found).mean())
    assert overlap["Jaccard@10"] < 0.9


def test_costs(result):
    assert list(result.costs.index) == ["pixels", "kmeans", "euclid"]
    assert result.costs["fit_s"].isna().all()
    assert (result.costs[["query_ms", "batch_ms"]] > 0).all().all()


def test_models_are_fitted_or_taken_as_they_are(pictures, queries, models, tmp_path):
    images, labels = pictures
    unfitted = {name: clone(model) for name, model in models.items()}
    result = compare(unfitted, *queries, X=images[:80], y=labels[:80], ks=(1, 5))
    assert result.costs["fit_s"].notna().all()
    assert not hasattr(unfitted["pixels"], "keys_")
    wanted = compare(models, *queries, ks=(1, 5))
    pd.testing.assert_frame_equal(result.per_query, wanted.per_query)
    pd.testing.assert_frame_equal(result.differences, wanted.differences)
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, labels)
    drawn = compare({"a": PairwiseModel(), "b": models["kmeans"]}, 30, X=rocks)
    assert drawn.n_queries == 30
    assert set(drawn.per_query.index.get_level_values("query")) <= set(rocks.keys)


def test_the_order_of_keys_does_not_matter(pictures):
    images, labels = pictures
    keys = np.array([f"rock.{i:03d}" for i in range(120)])
    frame = pd.DataFrame(images.reshape(120, -1), index=keys)
    order = np.random.default_rng(0).permutation(120)
    a = PairwiseModel().fit(frame, labels)
    b = PairwiseModel().fit(frame.iloc[order], labels[order])
    groups = np.arange(120) // 3
    result = compare({"a": a, "b": b}, groups=groups)
    assert (result.differences["difference"] == 0).all()
    assert (result.overlap["mean"] > 1 - 1e-9).all()
    wanted = retrieval_scores(a, groups=pd.Series(groups, index=keys))
    got = result.per_query.xs("b", axis=1, level="model")
    pd.testing.assert_frame_equal(got, wanted.per_query, check_names=False)
    assert "occurs by chance more often than not" in result.verdict


def test_without_labels_there_are_overlap_and_costs_only(models, queries):
    result = compare(models, queries[0])
    assert len(result.scores) == len(result.differences) == 0
    assert list(result.per_query.index) == list(range(40))
    assert "Without labels there are no scores" in result.verdict
    assert "pixels and kmeans 0." in result.verdict
    assert "40 queries" in result.verdict
    assert result.costs["query_ms"].notna().all()
    assert "Overlap" in str(result)
    assert "Mean scores" not in str(result)


def test_summaries(result):
    text = str(result)
    assert text.startswith(result.verdict)
    assert "precision@5" in text
    assert "query_ms" in text
    page = result._repr_html_()
    assert page.count("<table") == 3
    assert result.table().loc["precision@5", "kmeans"] == pytest.approx(
        result.per_query["precision@5", "kmeans"].mean()
    )


def scores(**means):
    return pd.DataFrame(
        {"model": list(means), "measure": "mAP", "mean": list(means.values())}
    )


def difference(model, other, value, half, p):
    return {
        "model": model,
        "other": other,
        "measure": "mAP",
        "difference": value,
        "low": value - half,
        "high": value + half,
        "p_corrected": p,
    }


@pytest.mark.parametrize("reversed_", [False, True])
def test_the_verdict_says_who_is_ahead(reversed_):
    row = difference("a", "b", 0.2, 0.05, 0.0003)
    if reversed_:
        row = difference("b", "a", -0.2, 0.05, 0.0003)
    told = labeled_verdict(scores(b=0.5, a=0.7), pd.DataFrame([row]), "mAP", 1000, 0.95)
    assert told == (
        "a is better: its mAP is 0.700, ahead of b (0.500) by 0.200 (0.150 to 0.250) "
        "(1,000 queries, 95 % intervals). Such a lead occurs by chance less than once in "
        "1,000 times."
    )


def test_the_verdict_writes_no_difference_as_0():
    row = difference("a", "b", 0.0016, 0.0012, 0.0003)
    told = labeled_verdict(scores(b=0.5, a=0.5016), pd.DataFrame([row]), "mAP", 9, 0.95)
    assert "by 0.0016 (0.0004 to 0.0028)" in told


def test_the_verdict_says_when_nothing_is_significant():
    rows = [
        difference("a", "b", 0.01, 0.02, 0.3),
        difference("a", "c", 0.3, 0.02, 0.001),
        difference("b", "c", 0.29, 0.02, 0.001),
    ]
    told = labeled_verdict(
        scores(a=0.51, b=0.5, c=0.21), pd.DataFrame(rows), "mAP", 100, 0.9
    )
    assert told == (
        "100 queries (90 % intervals) do not show whether a (mAP 0.510) is better than b "
        "(0.500): the true difference lies between -0.010 and 0.030, and one this large "
        "occurs by chance about once in 3 times. It is significantly ahead of c (0.210) "
        "by 0.300 (0.280 to 0.320)."
    )


def test_the_verdict_does_not_contradict_its_intervals():
    rows = [
        difference("a", "b", 0.19, 0.16, 0.14),
        difference("a", "c", 0.3, 0.02, 0.001),
        difference("b", "c", 0.11, 0.02, 0.001),
    ]
    told = labeled_verdict(
        scores(a=0.5, b=0.31, c=0.2), pd.DataFrame(rows), "mAP", 10, 0.95
    )
    why = (
        "the lead of 0.190 (0.030 to 0.350 for this pair alone) is not certain, as by "
    )
    why += (
        "the paired test, corrected for 3 pairs, one this large occurs by chance about "
    )
    why += "once in 7 times"
    assert f"is better than b (0.310): {why}. It is" in told
    alone = labeled_verdict(
        scores(a=0.5, b=0.31), pd.DataFrame(rows[:1]), "mAP", 10, 0.95
    )
    assert alone.endswith(f"{why.replace(', corrected for 3 pairs,', '')}.")


def test_the_measure_of_thelabeled_verdict(models, queries, result):
    assert result.measure == "precision@5"
    other = compare(models, *queries, ks=(1, 5), measure="MAP@R")
    assert "MAP@R" in other.verdict
    assert "precision" not in other.verdict


class TestMistakes:
    def test_models(self, models, queries):
        with pytest.raises(TypeError, match="dict of two or more.*got 1"):
            compare({"a": models["pixels"]}, *queries)
        with pytest.raises(TypeError, match="dict of two or more"):
            compare(list(models.values()), *queries)
        with pytest.raises(TypeError, match="'b' is not a similarity model"):
            compare({"a": models["pixels"], "b": "kmeans"}, *queries)
        with pytest.raises(ValueError, match=r"unique name, got \[1, '1'\]"):
            compare({1: models["pixels"], "1": models["kmeans"]}, *queries)

    def test_a_model_that_is_not_fitted(self, models, queries):
        with pytest.raises(NotFittedError, match="'new' is not fitted.*X="):
            compare({**models, "new": PairwiseModel()}, *queries)

    def test_other_pictures(self, models, queries, pictures):
        keys = [f"rock.{i}" for i in range(80)]
        frame = pd.DataFrame(pictures[0][:80].reshape(80, -1), index=keys)
        other = PairwiseModel().fit(frame, pictures[1][:80])
        with pytest.raises(ValueError, match="'pixels' and 'other' share 0 keys of 80"):
            compare({"pixels": models["pixels"], "other": other}, *queries)

    def test_other_labels(self, models, queries, pictures):
        other = PairwiseModel().fit(pictures[0][:80], np.roll(pictures[1][:80], 1))
        with pytest.raises(ValueError, match="'other' was fitted with other labels"):
            compare({"pixels": models["pixels"], "other": other}, *queries)

    def test_one_query(self, models, queries):
        with pytest.raises(ValueError, match="from 1 query; pass two or more"):
            compare(models, queries[0][:1], queries[1][:1])

    def test_one_group(self, models, queries):
        groups = (np.full(80, -1), np.zeros(40))
        with pytest.raises(ValueError, match="All 40 queries are of one group"):
            compare(models, *queries, groups=groups)

    def test_measure(self, models, queries):
        with pytest.raises(ValueError, match="measure='F1' is not known.*precision@1"):
            compare(models, *queries, measure="F1")
        with pytest.raises(ValueError, match="measure='mAP' needs labels"):
            compare(models, queries[0], measure="mAP")

    def test_more_answers_than_pictures(self, models, queries):
        with pytest.raises(ValueError, match="first 81 answers.*80 pictures"):
            compare(models, *queries, ks=81)

    def test_labels_without_pictures_to_fit(self, models, queries):
        with pytest.raises(ValueError, match="y is for fitting"):
            compare(models, *queries, y=queries[1])
        with pytest.raises(ValueError, match="inconsistent"):
            compare(models, *queries, X=queries[0], y=queries[1][:3])


@pytest.mark.real
def test_the_two_original_models_on_the_real_archive(real_rocks):
    some = np.arange(0, len(real_rocks), 10)
    frame, labels = real_rocks.to_frame("uint8", some), real_rocks.labels[some]
    models = {"pairwise": PairwiseModel(), "kmeans": KMeansModel(random_state=0)}
    result = compare(models, 200, X=frame, y=labels, ks=(1, 10), full=False)
    assert result.table().loc["precision@10"].between(0.3, 0.9).all()
    shared = result.overlap.set_index("measure")["mean"]
    assert 0.2 < shared["Jaccard@10"] < 0.9
    kmeans = models["kmeans"].fit(frame, labels)
    recall = recall_against_exact(kmeans, 200).scores["mean"][0]
    assert shared["Jaccard@10"] < recall < 1
