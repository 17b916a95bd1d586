"""The classifier on photographs and few labels, and what their features are worth.

``python -m benchmarks photographs`` does everything, which takes hours;
``photographs:sections,drawn-300-7`` does the rows of that name, ``photographs:answers``
these rows, ``photographs:network`` those of a pretrained network beside the features,
only where named so, ``photographs:features`` what the features are worth and
``photographs:embeddings`` what embeddings learn from few labels. Thin sections are those
below ``thin_sections`` of ``GEOIMAGES_DATA``, brought to grey squares of one size; tiles
are those of its archive.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    cross_val_score,
)
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import SVC

from geoimages import (
    ConvNetClassifier,
    FisherFeatures,
    MLPEmbedding,
    RockFeatures,
    TripletEmbedding,
    expected_calibration_error,
    find_duplicates,
    make_rocks,
    resize_image,
)

from . import data

_SIDE = 224
_DRAWN_SIDE = 128
_STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1)  # of the logistic regression, tried


def photographs():
    """(pictures, labels)."""
    folder = Path(os.environ.get("GEOIMAGES_DATA", "")) / "thin_sections"
    paths = sorted(folder.glob("class*/*.png"))
    if not paths:
        return make_rocks(420, image_shape=(128, 128, 3), random_state=0)
    images = [np.asarray(Image.open(p).convert("L").convert("RGB")) for p in paths]
    images = [resize_image(image, (_SIDE, _SIDE)) for image in images]
    return np.stack(images), np.array([path.parent.name for path in paths])


def groups_of_copies(images):
    """Number the pictures so that copies of one picture share a number: (n,)."""
    groups = np.arange(len(images))
    found = find_duplicates(images).groups
    groups[found.index.to_numpy(int)] = len(images) + found.to_numpy()
    return groups


def _folds(images, labels, n_repeats, n_folds=5, groups=None):
    """Repeated folds that keep copies together: images, labels, groups, splits."""
    groups = np.arange(len(images)) if groups is None else groups
    splits = [
        part
        for repeat in range(n_repeats)
        for part in StratifiedGroupKFold(
            n_folds, shuffle=True, random_state=repeat
        ).split(images, labels, groups)
    ]
    return images, labels, groups, splits


def _sections():
    images, labels = photographs()
    return _folds(images, labels, 2, groups=groups_of_copies(images))


def _photographed(n_samples, n_classes):
    shape = (_DRAWN_SIDE, _DRAWN_SIDE, 3)
    return make_rocks(
        n_samples,
        image_shape=shape,
        n_classes=n_classes,
        view="photograph",
        random_state=7,
    )


def _in_folds(n_samples, n_classes):
    return lambda: _folds(*_photographed(n_samples, n_classes), 1, 4)


def _drawn(n_train, n_classes, n_repeats):
    """Learn from some drawn photographs, answer about 1,000 others."""

    def draw():
        images, labels = _photographed(n_repeats * n_train + 1000, n_classes)
        positions = np.arange(len(images))
        *drawn, test = np.split(positions, n_train * np.arange(1, n_repeats + 1))
        return images, labels, positions, [(train, test) for train in drawn]

    return draw


def _tiles(n_train, n_repeats):
    """Learn from some tiles of the training part, answer about all of dev."""

    def read():
        folder = Path(os.environ["GEOIMAGES_DATA"])
        table = pd.read_csv(folder / "geological_similarity_split.csv")
        with data.collection() as tiles:
            side = table.set_index("key")["split"].reindex(tiles.keys)
            train, dev = (np.flatnonzero(side == name) for name in ("train", "dev"))
            images, labels = tiles[:], tiles.labels
        splits = []
        for repeat in range(n_repeats):
            drawn = np.random.default_rng(repeat).permutation(train)[:n_train]
            splits.append((np.sort(drawn), dev))
        return images, labels, np.arange(len(images)), splits

    return read


ROWS = {
    "sections": ("360 thin sections", _sections),
    "drawn-300-7": ("300 drawn photographs, 7 classes", _drawn(300, 7, 2)),
    "drawn-300-30": ("300 drawn photographs, 30 classes", _drawn(300, 30, 2)),
    "drawn-1000-7": ("1,000 drawn photographs, 7 classes", _drawn(1000, 7, 1)),
    "drawn-1000-30": ("1,000 drawn photographs, 30 classes", _drawn(1000, 30, 1)),
    "drawn-3000-7": ("3,000 drawn photographs, 7 classes", _drawn(3000, 7, 1)),
    "drawn-3000-30": ("3,000 drawn photographs, 30 classes", _drawn(3000, 30, 1)),
    "tiles-200": ("200 tiles", _tiles(200, 5)),
    "tiles-1000": ("1,000 tiles", _tiles(1000, 3)),
    "tiles-20000": ("20,000 tiles", _tiles(20_000, 1)),
}


# With features of their own: these need geoimages[network].
NETWORK = RockFeatures(network="efficientnet-lite0")
NETWORK_ROWS = {
    "network-300-7": ("300 drawn photographs, 7 classes", _drawn(300, 7, 2), NETWORK),
    "network-1000-7": (
        "1,000 drawn photographs, 7 classes",
        _drawn(1000, 7, 1),
        NETWORK,
    ),
    "network-1000-30": (
        "1,000 drawn photographs, 30 classes",
        _drawn(1000, 30, 1),
        NETWORK,
    ),
}


def answers(images, labels, splits, random_state=0, features=None):
    """Answer about each test part: {name: (n, n_classes)}, and the positions (n,).

    The logistic regression and the vector machine learn from the columns that the
    classifier takes, Fisher vectors included where it found that they pay.
    """
    proba = {"LogisticRegression": [], "SVC": [], "ConvNetClassifier": []}
    classes = np.unique(labels)
    for train, test in splits:
        model = ConvNetClassifier(features, random_state=random_state)
        model.fit(images[train], labels[train])
        rows, queries = model._rows(images[train]), model._rows(images[test])
        strengths = np.array(_STRENGTHS) / rows.var(axis=0).mean()
        regression = GridSearchCV(
            LogisticRegression(max_iter=200, tol=1e-3),
            {"C": strengths},
            scoring="neg_log_loss",
            cv=3,
        )
        regression.fit(rows, labels[train])
        machine = SVC(C=10).fit(rows, labels[train])
        right = machine.predict(queries)[:, None] == classes
        proba["ConvNetClassifier"].append(model.predict_proba(images[test]))
        proba["LogisticRegression"].append(regression.predict_proba(queries))
        proba["SVC"].append(right.astype(float))
    positions = np.concatenate([test for _, test in splits])
    return {name: np.concatenate(part) for name, part in proba.items()}, positions


def interval(values, groups):
    """Mean and half its 95 % interval; values of a group are not independent."""
    sums = pd.Series(values - values.mean()).groupby(groups).sum()
    return values.mean(), 1.96 * np.sqrt((sums**2).sum()) / len(values)


def chance_error(proba, positions, n_draws=50):
    """Mean calibration error of answers whose probabilities are all true.

    Answers about one picture, given in several repeats, share its luck.
    """
    rng, classes = np.random.default_rng(0), np.arange(proba.shape[1])
    pictures, picture = np.unique(positions, return_inverse=True)
    errors = []
    for _ in range(n_draws):
        luck = rng.random((len(pictures), 1))[picture]
        drawn = (proba.cumsum(axis=1) < luck).sum(axis=1)
        drawn = np.minimum(drawn, len(classes) - 1)
        errors.append(expected_calibration_error(drawn, proba, classes))
    return np.mean(errors)


class Answers:
    """Accuracy ± half a 95 % interval (calibration error, and what chance alone makes of
    it in as many answers) of pooled answers.
    """

    def run(self, *names):
        if "answers" in names or not names:
            names = [*names, *ROWS]
        if "network" in names:
            names = [*names, *NETWORK_ROWS]
        rows = {**ROWS, **NETWORK_ROWS}
        names = [name for name in dict.fromkeys(names) if name in rows]
        if not names:
            return
        print("\n", " ".join(self.__doc__.split()), "\n")
        print(
            "| learned from | logistic regression | SVC | `ConvNetClassifier()` | ahead |"
        )
        print("|---|---|---|---|---|")
        for name in names:
            print(self.row(*rows[name]), flush=True)

    def row(self, title, read, features=None):
        """A row of the table."""
        images, labels, groups, splits = read()
        proba, positions = answers(images, labels, splits, features=features)
        classes, y, groups = np.unique(labels), labels[positions], groups[positions]
        cells, right = [title], {}
        for name, answer in proba.items():
            right[name] = (classes[answer.argmax(axis=1)] == y).astype(float)
            score, half = interval(right[name], groups)
            cells.append(f"{score:.3f} ± {half:.3f}")
            if name != "SVC":
                error = expected_calibration_error(y, answer, classes)
                cells[-1] += f" ({error:.3f})"
                if name == "ConvNetClassifier":
                    chance = chance_error(answer, positions)
                    cells[-1] = f"{cells[-1][:-1]}, by chance {chance:.3f})"
        ours = right.pop("ConvNetClassifier")
        best = max(right.values(), key=np.mean)
        lead, half = interval(ours - best, groups)
        return f"| {' | '.join(cells)} | {lead:+.3f} ± {half:.3f} |"


def precision_at_5(stored, labels, queries, wanted):
    """Whether each of the five nearest by cosine is of the query's class: (n,)."""
    index = NearestNeighbors(n_neighbors=5, metric="cosine").fit(stored)
    return (labels[index.kneighbors(queries)[1]] == wanted[:, None]).mean(axis=1)


class Embeddings:
    """Precision@5 of embeddings learned from few labels, beside untrained features."""

    ROWS = (
        ("100 drawn photographs, 7 classes", _in_folds(400, 7)),
        ("300 drawn photographs, 7 classes", _in_folds(400, 7)),
        ("300 drawn photographs, 30 classes", _in_folds(400, 30)),
        ("288 thin sections", _sections),
        ("200 tiles", _tiles(200, 3)),
    )
    MODELS = (
        TripletEmbedding(hidden_layer_sizes=(), random_state=0),
        TripletEmbedding(hidden_layer_sizes=(512,), random_state=0),
        TripletEmbedding(random_state=0),
        MLPEmbedding(random_state=0),
    )

    def run(self, *names):
        if names and "embeddings" not in names:
            return
        print(f"\n{self.__doc__}\n")
        print("| learned from | `RockFeatures()` | linear | 512 units | chosen | MLP |")
        print("|---|---|---|---|---|---|")
        for title, read in self.ROWS:
            images, labels, groups, splits = read()
            rows = RockFeatures().fit_transform(images)
            scores = []
            for train, test in splits[:4]:
                if title.startswith("100 "):
                    train, test = test, train
                y, wanted = labels[train], labels[test]
                near = [precision_at_5(rows[train], y, rows[test], wanted)]
                for model in self.MODELS:
                    fitted = clone(model).fit(rows[train], y, groups[train])
                    stored, queries = map(fitted.transform, (rows[train], rows[test]))
                    near.append(precision_at_5(stored, y, queries, wanted))
                scores.append(np.mean(near, axis=1))
            cells = [f"{score:.3f}" for score in np.mean(scores, axis=0)]
            print(f"| {title} | {' | '.join(cells)} |", flush=True)


class Photographs:
    """Accuracy of an SVC (C=10) on features of photographs."""

    FEATURES = (
        RockFeatures(),
        FisherFeatures(),
        RockFeatures(fisher=0.5),
        RockFeatures(fisher=1),
    )

    def run(self, *names):
        if names and "features" not in names:
            return
        print(f"\n{self.__doc__}")
        images, labels = photographs()
        folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
        for features in self.FEATURES:
            # Learned without labels, so that the folds need not learn them again.
            rows = features.fit_transform(images)
            scores = cross_val_score(SVC(C=10), rows, labels, cv=folds)
            print(f"  {features!r:30s} {scores.mean():.3f} ± {scores.std():.3f}")


SUITES = [Photographs, Embeddings, Answers]
