"""Scores of similarity models: against slow loops, and what is excluded."""

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import AP, P, R, Rprec, nDCG
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from geoimages import (
    Collection,
    ConvNetClassifier,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    recall_against_exact,
    retrieval_scores,
)
from geoimages.evaluate import RetrievalScores
from geoimages.evaluate.queries import Queries

CLASSES = np.array(["chalk", "flint", "marl"])


def keyed(n, start=0):
    return [f"rock.{i:03d}" for i in range(start, start + n)]


@pytest.fixture(scope="module")
def stored():
    """90 rows of three classes that overlap, some of them equal; their labels."""
    rng = np.random.default_rng(0)
    labels = CLASSES[rng.integers(3, size=90)]
    rows = rng.integers(0, 6, (90, 3)) + 2 * np.searchsorted(CLASSES, labels)[:, None]
    return pd.DataFrame(rows / 20, index=keyed(90)), labels


@pytest.fixture(scope="module")
def asked():
    """20 rows more, with their labels."""
    rng = np.random.default_rng(1)
    labels = CLASSES[rng.integers(3, size=20)]
    rows = rng.integers(0, 6, (20, 3)) + 2 * np.searchsorted(CLASSES, labels)[:, None]
    return pd.DataFrame(rows / 20, index=keyed(20, 500)), labels


@pytest.fixture
def model(stored):
    return PairwiseModel(dist_metric="euclidean").fit(*stored)


def means(result, label="all"):
    rows = result.scores[result.scores["class"] == label]
    return rows.set_index("measure")["mean"]


def test_scores_agree_with_ir_measures(model, stored, asked):
    result = retrieval_scores(model, *asked, ks=(1, 5, 20))
    (frame, labels), (queries, wanted) = stored, asked
    distance = cdist(queries, frame).round(9)
    # Of equal scores trec_eval puts the last name first, the models the first key.
    names = [f"d{999 - j}" for j in range(90)]
    qrels = {
        key: dict(zip(names, (labels == label).astype(int).tolist(), strict=True))
        for key, label in zip(queries.index, wanted, strict=True)
    }
    run = {
        key: dict(zip(names, (-row).tolist(), strict=True))
        for key, row in zip(queries.index, distance, strict=True)
    }
    theirs = {"R-precision": Rprec, "mAP": AP}
    for k in (1, 5, 20):
        theirs |= {f"precision@{k}": P @ k, f"recall@{k}": R @ k, f"nDCG@{k}": nDCG @ k}
    assert set(theirs) | {"MAP@R"} == set(result.per_query.columns)
    for name, measure in theirs.items():
        for found in ir_measures.iter_calc([measure], qrels, run):
            ours = result.per_query.xs(found.query_id)[name].item()
            assert ours == pytest.approx(found.value, abs=1e-12), name


def slow_scores(stored, asked, k, hidden):
    """Precision and recall at k and R-precision, one query at a time."""
    (frame, labels), (queries, wanted) = stored, asked
    rows = []
    for i, label in enumerate(wanted):
        distance = cdist(queries.iloc[[i]], frame).round(9)[0]
        order = np.argsort(distance, kind="stable")
        order = order[~hidden[i][order]]
        right = labels[order] == label
        total = right.sum()
        rows.append((right[:k].mean(), right[:k].sum() / total, right[:total].mean()))
    return np.array(rows)


def test_the_own_group_is_neither_found_nor_counted(model, stored, asked):
    rng = np.random.default_rng(2)
    of_stored, of_asked = rng.integers(0, 5, 90), rng.integers(0, 5, 20)
    hidden = of_asked[:, None] == of_stored
    wanted = slow_scores(stored, asked, 5, hidden)
    everything = slow_scores(stored, asked, 5, np.zeros_like(hidden))
    keys = [*stored[0].index, *asked[0].index]
    by_key = dict(zip(keys, [*of_stored, *of_asked], strict=True))
    columns = ["precision@5", "recall@5", "R-precision"]
    for groups in ((of_stored, of_asked), by_key, pd.Series(by_key)):
        result = retrieval_scores(model, *asked, groups=groups)
        np.testing.assert_allclose(result.per_query[columns], wanted)
    assert not np.allclose(wanted, everything)
    result = retrieval_scores(model, *asked)
    np.testing.assert_allclose(result.per_query[columns], everything)


def test_stored_pictures_find_neither_themselves_nor_their_group(model, stored):
    frame, labels = stored
    groups = np.arange(90) // 4
    hidden = groups[:, None] == groups
    columns = ["precision@5", "recall@5", "R-precision"]
    wanted = slow_scores(stored, stored, 5, hidden)
    for queries in (None, list(frame.index), frame):
        result = retrieval_scores(model, queries, groups=groups)
        np.testing.assert_allclose(result.per_query[columns], wanted)
    alone = slow_scores(stored, stored, 5, np.eye(90, dtype=bool))
    for queries in (None, frame.index, frame):
        result = retrieval_scores(model, queries)
        np.testing.assert_allclose(result.per_query[columns], alone)
    # Rows of an array have no keys: they find themselves unless groups say so.
    found = retrieval_scores(model, frame.to_numpy(), labels, ks=1)
    assert means(found)["precision@1"] > 0.9
    own = (np.arange(90), np.arange(90))
    told = retrieval_scores(model, frame.to_numpy(), labels, groups=own)
    np.testing.assert_allclose(told.per_query[columns], alone)


def test_an_empty_group_is_a_group_of_its_own(model, stored):
    frame, _ = stored
    alone = retrieval_scores(model).per_query
    for empty in (None, np.nan, ""):
        groups = pd.Series([empty] * 90, index=frame.index, dtype=object)
        pd.testing.assert_frame_equal(
            retrieval_scores(model, groups=groups).per_query, alone
        )


def test_rotated_copies_are_excluded(pictures):
    images, labels = pictures[0][:30], pictures[1][:30]
    copies = [np.rot90(images, turn, (1, 2)) for turn in range(4)]
    keys = [
        f"rock.{i:02d}{end}" for end in ("", ".90", ".180", ".270") for i in range(30)
    ]
    frame = pd.DataFrame(np.concatenate(copies).reshape(120, -1), index=keys)
    some = frame.iloc[30:]  # a held-out original, its copies stored
    model = PairwiseModel(orientation="rotations").fit(some, np.tile(labels, 3))
    result = retrieval_scores(model, frame.iloc[:30], labels, ks=5)
    answers = model.predict(frame.iloc[:30], 8)
    for i, key in enumerate(frame.index[:30]):
        found = [other for other in answers.loc[key].index if other[:7] != key][:5]
        wanted = np.mean([labels[int(other[5:7])] == labels[i] for other in found])
        assert result.per_query["precision@5"].iloc[i] == wanted
    by_key = PairwiseModel().fit(frame, np.tile(labels, 4))
    table = retrieval_scores(by_key, [*frame.index[:3], "rock.00.90"]).per_query
    assert len(table) == 4
    assert table.loc["rock.00", "mAP"].item() < 1


def test_queries_of_one_group_are_drawn_together(model, asked):
    queries, labels = asked
    apart = (np.full(90, -1), np.arange(20))
    pairs = (np.full(90, -1), np.arange(20) // 10)
    width = {}
    for name, groups in {"apart": apart, "pairs": pairs}.items():
        overall = retrieval_scores(model, queries, labels, groups=groups).scores
        width[name] = (overall["high"] - overall["low"])[:12]
    assert (width["pairs"] != width["apart"]).all()


def test_the_tables(model, asked):
    result = retrieval_scores(model, *asked, ks=(5, 1))
    assert isinstance(result, RetrievalScores)
    assert list(result.scores.columns) == [
        "class", "measure", "mean", "low", "high", "queries"
    ]  # fmt: skip
    assert list(result.scores["class"].unique()) == ["all", *CLASSES]
    for label in CLASSES:
        these = result.per_query.xs(label, level="label")
        np.testing.assert_allclose(means(result, label), these.mean())
    assert (result.scores["low"] <= result.scores["mean"]).all()
    assert (result.scores["mean"] <= result.scores["high"]).all()
    assert result.table().loc["all", "queries"] == 20
    assert list(result.table().index) == ["all", *CLASSES]
    assert "20 queries" in str(result)
    assert "precision@5" in str(result)
    assert "<table" in result._repr_html_()
    short = retrieval_scores(model, *asked, ks=(1, 5), full=False)
    pd.testing.assert_frame_equal(
        short.per_query, result.per_query[short.per_query.columns]
    )
    assert not {"mAP", "MAP@R", "R-precision"} & set(short.per_query.columns)


def test_what_no_picture_is_like_is_left_out_of_the_means(model, asked):
    queries, labels = asked
    labels = labels.copy()
    labels[:3] = ["granite", "", "chalk"]
    result = retrieval_scores(model, queries, labels)
    assert result.per_query.iloc[:2].isna().all().all()
    assert (result.scores["queries"][:12] == 18).all()
    np.testing.assert_allclose(means(result), result.per_query.mean())


def test_queries_however_they_are_given(pictures, tmp_path):
    images, labels = pictures
    path = tmp_path / "a.h5"
    rocks = Collection.from_arrays(path, images, labels, keys=keyed(120))
    model = PairwiseModel().fit(rocks)
    some = rocks.to_frame("uint8", np.arange(120))
    wanted = retrieval_scores(model).per_query
    for queries in (rocks, some, list(rocks.keys), rocks.keys):
        pd.testing.assert_frame_equal(
            retrieval_scores(model, queries).per_query, wanted
        )
    drawn = retrieval_scores(model, 12, random_state=3).per_query
    assert len(drawn) == 12
    pd.testing.assert_frame_equal(drawn, wanted.loc[drawn.index])
    again = retrieval_scores(model, 12, random_state=4).per_query
    assert list(again.index) != list(drawn.index)
    other = PairwiseModel().fit(images[:60], labels[:60])
    a = retrieval_scores(other, images[60:], labels[60:]).per_query
    b = retrieval_scores(other, images[60:].reshape(60, -1), labels[60:]).per_query
    pd.testing.assert_frame_equal(a, b)


def test_an_approximate_search_is_judged_by_its_own_answers(stored, asked):
    rough = KMeansModel(8, dist_metric="euclidean", random_state=0).fit(*stored)
    result = retrieval_scores(rough, *asked, ks=5).per_query
    table = rough.predict(asked[0], 5)
    label_of = dict(zip(*[stored[0].index, stored[1]], strict=True))
    for (key, label), row in result.iterrows():
        found = [label_of[other] for other in table.loc[key].index]
        assert row["precision@5"] == np.mean(np.array(found) == label)
    exact = PairwiseModel(dist_metric="euclidean").fit(*stored)
    true = retrieval_scores(exact, *asked, ks=5).per_query
    assert not np.allclose(result["precision@5"], true["precision@5"])
    np.testing.assert_allclose(result["mAP"], true["mAP"])


class Foreign(BaseEstimator):
    """A model of which nothing is known but how many answers it was asked for."""

    def fit(self, model):
        self.model, self.keys_, self.y_, self.asked = model, model.keys_, model.y_, []
        return self

    def kneighbors(self, X, n_neighbors):
        self.asked.append(n_neighbors)
        return self.model.kneighbors(X, n_neighbors)


def test_a_foreign_model_is_asked_for_as_many_answers_as_are_scored(model, asked):
    foreign = Foreign().fit(model)
    result = retrieval_scores(foreign, *asked, ks=(1, 5)).per_query
    pd.testing.assert_frame_equal(
        result, retrieval_scores(model, *asked, ks=(1, 5)).per_query
    )
    counts = dict(zip(*np.unique(model.y_, return_counts=True), strict=True))
    assert set(foreign.asked) == {5, 90} | {counts[label] for label in asked[1]}
    assert len(set(counts.values())) == 3


def test_a_slow_model_shows_progress(pictures):
    model = PairwiseModel(features=PatternFeatures(shortlist=20))
    model.fit(pictures[0][:60], pictures[1][:60])
    queries, sizes = Queries(model, *(part[60:90] for part in pictures), None, 0), []
    for block, *_ in queries.ask(model, 5):
        sizes.append(len(block))
    assert sum(sizes) == 30
    assert max(sizes) <= 4


def test_recall_against_exact(pictures):
    images, labels = pictures
    model = KMeansModel(8, random_state=0).fit(images[:100], labels[:100])
    result = recall_against_exact(model, images[100:], k=10)
    found = model.predict(images[100:], 10)
    true = model.predict(images[100:], 10, clusters_searched=8)
    wanted = [
        len(set(found.loc[i].index) & set(true.loc[i].index)) / 10 for i in range(20)
    ]
    assert 0 < np.mean(wanted) < 1
    np.testing.assert_allclose(result.per_query["recall@10 of exact"], wanted)
    exact = PairwiseModel().fit(images[:100])
    other = recall_against_exact(model, images[100:], k=10, exact=exact)
    pd.testing.assert_frame_equal(other.per_query, result.per_query)
    every = KMeansModel(8, clusters_searched=8, random_state=0).fit(images[:100])
    assert means(recall_against_exact(every, images[100:]))["recall@10 of exact"] == 1


def test_ties_are_as_good_as_one_another():
    """Of many equal pictures any will do."""
    rows = np.repeat([[0.1, 0.2], [0.8, 0.9]], 20, axis=0)
    frame = pd.DataFrame(rows, index=keyed(40))
    exact = PairwiseModel(dist_metric="euclidean").fit(frame)
    reverse = PairwiseModel(dist_metric="euclidean").fit(
        pd.DataFrame(rows, index=keyed(40)[::-1])
    )
    recall = recall_against_exact(reverse, rows[[0, 39]], k=5, exact=exact)
    assert means(recall)["recall@5 of exact"] == 1


def test_recall_of_a_re_ranked_answer_counts_the_pictures(pictures):
    images, labels = pictures
    model = KMeansModel(8, features=PatternFeatures(shortlist=20), random_state=0)
    model.fit(images[:100], labels[:100])
    found = model.predict(images[100:], 10)
    true = model.predict(images[100:], 10, clusters_searched=8)
    wanted = [
        len(set(found.loc[i].index) & set(true.loc[i].index)) / 10 for i in range(20)
    ]
    assert 0 < np.mean(wanted) < 1
    result = recall_against_exact(model, images[100:], k=10)
    np.testing.assert_allclose(result.per_query["recall@10 of exact"], wanted)


def test_without_groups_rotated_copies_are_still_drawn_together(stored):
    frame, labels = stored
    frame = frame.rename(lambda key: key.replace("rock.001", "rock.000.90"))
    model = PairwiseModel().fit(frame, labels)
    groups = pd.Series(None, frame.index, dtype=object)
    units = [Queries(model, None, None, g, 0).units for g in (None, groups)]
    for of_queries in units:
        assert of_queries[0] == of_queries[1]
        assert len(np.unique(of_queries)) == 89


class TestMistakes:
    def test_a_model_that_is_not_fitted(self, asked):
        with pytest.raises(
            NotFittedError, match="PairwiseModel is not fitted; call fit"
        ):
            retrieval_scores(PairwiseModel(), *asked)

    def test_no_similarity_model(self, asked):
        with pytest.raises(
            TypeError, match="ConvNetClassifier is not a similarity model"
        ):
            retrieval_scores(ConvNetClassifier(), *asked)

    def test_missing_labels(self, model, stored, asked):
        with pytest.raises(ValueError, match="pass those of the queries, labels="):
            retrieval_scores(model, asked[0])
        without = PairwiseModel().fit(stored[0])
        with pytest.raises(ValueError, match="fit the model with them"):
            retrieval_scores(without)
        with pytest.raises(ValueError, match="the stored pictures have none"):
            retrieval_scores(without, *asked)

    def test_labels_of_other_queries(self, model, asked):
        with pytest.raises(ValueError, match=r"shape \(3,\) for 20 queries"):
            retrieval_scores(model, asked[0], asked[1][:3])
        with pytest.raises(ValueError, match="'granite' is none of '"):
            retrieval_scores(model, asked[0], ["granite"] * 20)

    def test_one_query(self, model, stored, asked):
        for one in ([stored[0].index[0]], stored[0].index[0], asked[0].iloc[:1]):
            with pytest.raises(ValueError, match="from 1 query; pass two or more"):
                retrieval_scores(model, one, asked[1][:1])
        with pytest.raises(ValueError, match="pass two or more queries"):
            retrieval_scores(model, asked[0].iloc[0].to_numpy(), asked[1][:1])
        with pytest.raises(ValueError, match="queries=1 cannot be drawn from 90"):
            retrieval_scores(model, 1)

    def test_one_group(self, model, asked):
        groups = (np.full(90, -1), np.zeros(20))
        with pytest.raises(ValueError, match="All 20 queries are of one group"):
            retrieval_scores(model, *asked, groups=groups)

    def test_nothing_to_find(self, stored):
        alone = PairwiseModel().fit(stored[0], np.arange(90))
        with pytest.raises(ValueError, match="No query has a relevant stored picture"):
            retrieval_scores(alone)
        labels = np.array([*stored[1][:89], "granite"])
        one = PairwiseModel().fit(stored[0], labels)
        with pytest.raises(ValueError, match="Only one query has relevant pictures"):
            retrieval_scores(one, stored[0].index[[0, 89]])

    def test_more_answers_than_pictures(self, model, asked):
        with pytest.raises(ValueError, match="first 91 answers.*90 pictures"):
            retrieval_scores(model, *asked, ks=(1, 91))
        with pytest.raises(ValueError, match="ks must be.*got \\[0\\]"):
            retrieval_scores(model, *asked, ks=[0])
        with pytest.raises(ValueError, match="first 100 answers"):
            recall_against_exact(model, asked[0], 100, exact=model)

    def test_unknown_and_repeated_keys(self, model):
        with pytest.raises(KeyError, match="'rock.999' is not a key of the 90"):
            retrieval_scores(model, ["rock.001", "rock.999"])
        with pytest.raises(ValueError, match="'rock.001' is repeated"):
            retrieval_scores(model, ["rock.001", "rock.001"])

    def test_keys_that_are_no_strings(self, pictures):
        model = PairwiseModel().fit(*pictures)
        with pytest.raises(ValueError, match="only where their keys are strings"):
            retrieval_scores(model)

    def test_groups(self, model, asked):
        with pytest.raises(ValueError, match="names no group of 'rock.001' and 108"):
            retrieval_scores(model, *asked, groups={"rock.000": 1})
        with pytest.raises(ValueError, match="expected 90 and 20"):
            retrieval_scores(model, *asked, groups=(np.arange(5), np.arange(20)))
        with pytest.raises(ValueError, match="those of the queries"):
            retrieval_scores(model, *asked, groups=np.arange(90))
        with pytest.raises(ValueError, match="expected 90 and 90"):
            retrieval_scores(model, groups=np.arange(5))
        with pytest.raises(ValueError, match=r"groups is of shape \(\)"):
            retrieval_scores(model, groups="hole")
        with pytest.raises(ValueError, match="'rock.000' and 89 other pictures"):
            retrieval_scores(model, groups={"hole": 1})

    def test_nothing_exact_to_compare_with(self, model, asked, stored):
        with pytest.raises(ValueError, match="pass the exact model.*exact="):
            recall_against_exact(model, asked[0])
        other = PairwiseModel().fit(stored[0].iloc[:50])
        with pytest.raises(ValueError, match="share 50 keys of 90 and 50"):
            recall_against_exact(model, asked[0], exact=other)
        other = PairwiseModel(dist_metric="cityblock").fit(stored[0])
        with pytest.raises(ValueError, match="compute different distances"):
            recall_against_exact(model, asked[0], exact=other)
        with pytest.raises(TypeError, match=r"k must be an integer, got \(1, 5\)"):
            recall_against_exact(model, asked[0], (1, 5), exact=model)


@pytest.mark.real
def test_scores_of_the_real_archive(real_rocks):
    some = np.arange(0, len(real_rocks), 10)
    frame, labels = real_rocks.to_frame("uint8", some), real_rocks.labels[some]
    model = PairwiseModel().fit(frame, labels)
    result = retrieval_scores(model, 100)
    keys = [key for key, _ in result.per_query.index]
    wanted = model.score(keys, labels[frame.index.get_indexer(keys)])
    deep = retrieval_scores(model, keys, ks=12, full=False)
    assert means(deep)["precision@12"] == pytest.approx(wanted)
    assert means(result)["mAP"] > 0.3
