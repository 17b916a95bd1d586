"""Workflows on collections and files: train, classify, evaluate, find similar."""

import contextlib
import os
import tempfile
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import has_fit_parameter

from .collection.manifest import NAME
from .collection.maps import Parcel, map_shards
from .collection.selection import conditions
from .collection.shards import check_shard
from .collection.sources import open_source
from .collection.splits import groups_of
from .collection.splits import split as split_collection
from .collection.store import Collection
from .collection.text import originals
from .core.holes import check_apart, hold_out_holes, holes_of, score_per_centimeter
from .evaluate import (
    classification_report,
    disturbance_table,
    expected_calibration_error,
)
from .evaluate.baselines import baseline_table, draw_for_baselines, fit_baselines
from .features import RockFeatures, verification
from .features.base import split_mask
from .files import progress, read_regular
from .neural.classifier import ConvNetClassifier
from .neural.training import Network
from .neural.triplets import TripletEmbedding
from .persist import load, save
from .pictures.reading import MAX_PIXELS, ImageReadError, read_image
from .pictures.resizing import resize_image
from .pictures.scaling import on_white
from .similarity.explanation import can_explain
from .similarity.ranking import FOUND

UNLIKE = 99
"""Novelty, in percent, above which a picture is unlike the collection."""
_BATCH_BYTES = 1 << 26  # pictures classified at once
_TOGETHER = 256  # those of a collection, whatever its shards
_MOST_CLASSES = 3  # listed in a row of the table
_MOST_NAMED = 12  # classes of a collection, named in an error


def _content_hashes(images):
    """Rotation-invariant 64-bit hash of each picture: (n,) uint64."""
    hashes = [
        min(
            blake2b(np.rot90(image, turn).tobytes(), digest_size=8).digest()
            for turn in range(4)
        )
        for image in images
    ]
    return np.frombuffer(b"".join(hashes), np.uint64)


def _read_split(path):
    """Read a table written by ``geoimages split``, with keys as strings."""
    data = BytesIO(read_regular(path))
    table = pd.read_csv(data, dtype={"key": str}, keep_default_na=False)
    if "key" in table:
        table["key"] = originals(table["key"])
    return table


def holdout(collection, split=None, share=0.15, random_state=0):
    """Split the labeled pictures of a collection into train and test.

    Rotated copies and duplicates of a picture stay on one side, and of tiles of core
    (`tile_core`) all of a hole.

    Parameters
    ----------
    collection : Collection
        The pictures.
    split : path of a CSV or DataFrame, optional
        Columns ``key`` and ``split``; pictures marked ``train`` are for training, all
        others listed for testing.
    share : float, default=0.15
        Without `split`, the share of each class held out for testing; see
        `geoimages.split`.
    random_state : int, RandomState or None, default=0
        Seed of the split.

    Returns
    -------
    train, test : ndarray of int
        Positions.

    Raises
    ------
    ValueError
        If the table lacks its columns, names no picture of one side, or puts tiles of
        one hole on both; or all tiles of core are of one hole.
    """
    labeled = np.flatnonzero(collection.labels != "")
    if not len(labeled):
        raise ValueError(
            f"No picture of {collection.path.name} has a label; put pictures into "
            "class folders, or pass a metadata table with a column 'label'."
        )
    holes = holes_of(collection)
    if split is None and holes is not None:
        return hold_out_holes(holes, collection.labels, labeled, share, random_state)
    if split is None:
        parts = split_collection(collection, share, random_state=random_state)
        return np.intersect1d(parts.train, labeled), np.intersect1d(parts.test, labeled)
    if not isinstance(split, pd.DataFrame) and not Path(split).is_file():
        raise FileNotFoundError(
            f"No split at {split}; pass a CSV with the columns key and split, as "
            "written by 'geoimages split'."
        )
    table = split if isinstance(split, pd.DataFrame) else _read_split(split)
    if not {"key", "split"} <= set(table.columns):
        raise ValueError(
            f"A split needs the columns 'key' and 'split', got "
            f"{', '.join(map(str, table.columns))}."
        )
    side = dict(zip(table["key"].astype(str), table["split"], strict=True))
    sides = np.array([side.get(key, "") for key in collection.keys[labeled].tolist()])
    train, test = (
        labeled[sides == "train"],
        labeled[(sides != "train") & (sides != "")],
    )
    if not len(train) or not len(test):
        raise ValueError(
            f"The split marks {len(train)} pictures of {collection.path.name} as train "
            f"and {len(test)} as something else; both are needed."
        )
    if holes is not None:
        check_apart(holes, train, test)
    return train, test


def _rows_of(model, images):
    """What baselines learn from: a model's features, or pictures where it has none."""
    return model._rows(images) if isinstance(model, Network) else images


def _learn_baselines(model, images, y):
    """Fit the plain models on a model's training pictures, by its own features."""
    drawn = draw_for_baselines(y)
    features = None if isinstance(model, Network) else RockFeatures()
    return fit_baselines(_rows_of(model, images[drawn]), y[drawn], features)


def train_classifier(
    collection, model=None, *, labels=None, split=None, share=0.15, random_state=0
):
    """Train a classifier on a part of a collection and score it on the rest.

    Parameters
    ----------
    collection : Collection
        Pictures with labels.
    model : classifier, optional
        By default a `ConvNetClassifier`.
    labels : dict, DataFrame or path of a CSV, optional
        Labels that replace the collection's, see `Collection.with_labels`.
    split, share, random_state
        As in `holdout`.

    Returns
    -------
    model : classifier
        Fitted. ``picture_fit_`` is how the collection's pictures were resized (crop,
        pad or stretch); ``learned_hashes_`` and ``held_out_hashes_`` are hashes of the
        training and the test pictures; ``baselines_``, plain models on the same
        features and the same pictures (5,000 of them at most, a share of each class).
    scores : dict
        ``accuracy``, ``log_loss`` and ``calibration_error``; beside them
        ``logistic_regression_accuracy``, ``logistic_regression_calibration_error`` and
        ``largest_class_accuracy``, of the baselines; ``train_pictures`` and
        ``test_pictures``.
    test_keys : list of str
        The pictures it was scored on.
    """
    if labels is not None:
        collection = collection.with_labels(labels)
    train, test = holdout(collection, split, share, random_state)
    if model is None:
        model = ConvNetClassifier(random_state=random_state)
    images, of_test = collection[train], collection[test]
    related = {}
    if has_fit_parameter(model, "groups"):
        related["groups"] = groups_of(collection)[train]
    model.fit(images, collection.labels[train], **related)
    model.picture_fit_ = collection.fit
    model.learned_hashes_ = np.unique(_content_hashes(images))
    model.held_out_hashes_ = np.unique(_content_hashes(of_test))
    model.baselines_ = _learn_baselines(model, images, collection.labels[train])
    y, proba = collection.labels[test], model.predict_proba(of_test)
    known = np.isin(y, model.classes_)
    plain = baseline_table(model.baselines_, _rows_of(model, of_test), y)
    regression = plain.loc["logistic_regression"]
    scores = {
        "accuracy": accuracy_score(y, model.classes_[proba.argmax(axis=1)]),
        "log_loss": log_loss(y[known], proba[known], labels=model.classes_),
        "calibration_error": expected_calibration_error(y, proba, model.classes_),
        "logistic_regression_accuracy": regression["accuracy"],
        "logistic_regression_calibration_error": regression["calibration_error"],
        "largest_class_accuracy": plain.loc["largest_class", "accuracy"],
        "train_pictures": len(train),
        "test_pictures": len(test),
    }
    return model, scores, collection.keys[test].tolist()


def _precision(stored, labels, queries, wanted, k=5):
    """Share of the k nearest stored rows that have the label of the query."""
    k = min(k, len(stored))
    found = NearestNeighbors(n_neighbors=k).fit(stored).kneighbors(queries)[1]
    return float((labels[found] == wanted[:, None]).mean())


def learn_embedding(
    collection, model=None, *, features=None, split=None, share=0.15, random_state=0
):
    """Train an embedding on the labels of a collection, for similarity search.

    Parameters
    ----------
    collection : Collection
        Pictures with labels.
    model : TripletEmbedding or MLPEmbedding, optional
        By default a `TripletEmbedding`.
    features : transformer, optional
        Its input; by default `RockFeatures`. It is cloned and fitted.
    split, share, random_state
        As in `holdout`.

    Returns
    -------
    model : Pipeline
        Fitted features and embedding, for the ``features`` of a similarity model, in a
        `sklearn.frozen.FrozenEstimator`.
    scores : dict
        ``precision_at_5`` of the held-out pictures among the training pictures,
        ``precision_at_5_before`` with the features alone, ``train_pictures`` and
        ``test_pictures``.
    test_keys : list of str
        The pictures it was scored on.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.frozen import FrozenEstimator
    >>> from geoimages import Collection, PairwiseModel, learn_embedding, make_rocks
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, *make_rocks(90, random_state=0))
    >>> embedding, scores, _ = learn_embedding(rocks)
    >>> scores["precision_at_5"] > scores["precision_at_5_before"]
    True
    >>> similar = PairwiseModel(3, "cosine", FrozenEstimator(embedding)).fit(rocks)
    """
    train, test = holdout(collection, split, share, random_state)
    if model is None:
        model = TripletEmbedding(random_state=random_state)
    y, of_test = collection.labels[train], collection.labels[test]
    features = RockFeatures() if features is None else clone(features)
    rows = features.fit_transform(collection[train])
    queries = features.transform(collection[test])
    model = clone(model)
    copies = {}
    if has_fit_parameter(model, "groups"):
        copies["groups"] = groups_of(collection, duplicates=True)[train]
    model.fit(rows, y, **copies)
    scores = {
        "precision_at_5": _precision(
            model.transform(rows), y, model.transform(queries), of_test
        ),
        "precision_at_5_before": _precision(rows, y, queries, of_test),
        "train_pictures": len(train),
        "test_pictures": len(test),
    }
    # A pipeline of fitted steps is fitted.
    return make_pipeline(features, model), scores, collection.keys[test].tolist()


def _read_file(file, model):
    """Read a file: the picture and a note on resizing, or None and the reason."""
    try:
        image = read_image(file, alpha=model.image_shape_[2] == 4)
    except ImageReadError as error:
        return None, str(error).removeprefix(f"{file}: ")
    return _bring_to_size(image, model)


def _bring_to_size(image, model):
    """A picture of the model's size, and a note where it had another."""
    size, had = model.image_shape_[:2], image.shape[:2]
    # The collection that was learned from may have cropped, padded or stretched.
    fit = getattr(model, "picture_fit_", "crop")
    note = ""
    if had != tuple(size):
        note = f"resized from {had[0]} × {had[1]} to {size[0]} × {size[1]}"
        note += "" if fit == "crop" else f" ({fit})"
    return resize_image(image, size, fit), note


def _pictures_of(path, model):
    """Yield (name, picture or None, note) of a file, a folder or a collection."""
    if isinstance(path, Collection):
        for start in range(0, len(path), 256):
            for key, image in zip(
                path.keys[start : start + 256], path[start : start + 256], strict=True
            ):
                yield str(key), *_bring_to_size(image, model)
    elif _is_collection_file(path):
        with Collection(path) as collection:
            yield from _pictures_of(collection, model)
    elif Path(path).is_dir():
        with open_source(path) as source:
            entries = [entry.path for entry in source.entries if entry.is_picture]
        if not entries:
            raise ValueError(f"The folder {path} holds no pictures.")
        for name in entries:
            yield str(Path(path) / name), *_read_file(Path(path) / name, model)
    else:
        yield str(path), *_read_file(Path(path), model)


def _classify(model, images, at_least=0):
    """Classify pictures of one shape: a list of dicts.

    Few are filled up to `at_least`: sums of matrix products are rounded otherwise where
    the matrices are smaller.
    """
    n = len(images)
    images = np.stack([*images, *[images[-1]] * (at_least - n)])
    proba = model.predict_proba(images)[:n]
    novelty = np.full(n, np.nan)
    if hasattr(model, "novelty"):
        novelty = model.novelty(images)[:n]
    order = np.argsort(-proba, axis=1, kind="stable")[:, :_MOST_CLASSES]
    sorted_proba = np.take_along_axis(proba, order, axis=1)
    answers = []
    for places, values, new in zip(order, sorted_proba, novelty, strict=True):
        names = model.classes_[places]
        answer = {"class": str(names[0]), "probability": values[0], "novelty": new}
        for i in range(1, len(places)):
            answer[f"class_{i + 1}"] = str(names[i])
            answer[f"probability_{i + 1}"] = values[i]
        answers.append(answer)
    return answers


def _shards_of(path):
    """Open the collection of a folder of shards; None for other paths."""
    if isinstance(path, Collection):
        return path if path.path.is_dir() else None
    return Collection(path) if (Path(path) / NAME).is_file() else None


def _classify_shard(named, parcel):
    """Classify the pictures of a shard, on a worker."""
    check_shard(*named)
    with Collection(named[0]) as shard:
        return _classify_pictures(parcel.open(), [shard], _TOGETHER)


def _classify_shards(model, collection):
    """Classify the shards of a folder on the workers configured: list of tables."""
    counts = np.diff(collection.files.starts)
    chosen = np.flatnonzero(counts)
    files = [collection.files.paths[i] for i in chosen]
    with tempfile.TemporaryDirectory() as elsewhere:
        writable = os.access(collection.path, os.W_OK)
        parcel = Parcel(model, collection.path if writable else elsewhere)
        try:
            tables, failed = map_shards(
                _classify_shard,
                [(collection.files.named(i), parcel) for i in chosen],
                desc="classifying",
                names=[path.name for path in files],
            )
        finally:
            parcel.remove()
    missing = dict(collection.missing)
    missing |= {files[i].name: why for i, why in failed.items()}
    return [table for table in tables if table is not None], missing


def classify_files(model, paths):
    """Classify picture files of any size, folders of them, and collections.

    Parameters
    ----------
    model : ConvNetClassifier
        Fitted. Pictures of another size are resized in the same way as the training
        pictures (``picture_fit_``).
    paths : sequence of path-like or Collection
        Picture files, folders (their files with a picture suffix are classified) and
        collections.

    Returns
    -------
    table : DataFrame
        One row per file in the order given, and per picture of a folder or collection:
        ``picture`` (path or key), ``class``, ``probability``, ``novelty`` (percentile
        of its distance to the training pictures among held-out ones), ``note``
        (resized, unlike the collection, or why it could not be read), and the next two
        classes, ``class_2``, ``probability_2``, ``class_3`` and ``probability_3``, if
        the model has as many. The shards of a folder are classified on the workers that
        joblib is configured for; ``attrs["missing"]`` names those that are missing, or
        failed, and why.

    Raises
    ------
    ValueError
        If a folder holds no pictures.
    """
    tables, some, missing = [], [], {}
    for path in [*paths, None]:
        shards = None if path is None else _shards_of(path)
        single = isinstance(path, Collection) or (
            path is not None and _is_collection_file(path)
        )
        if path is not None and shards is None and not single:
            some.append(path)
            continue
        if some:
            tables.append(_classify_pictures(model, some))
            some = []
        if shards is not None:
            found, lacking = _classify_shards(model, shards)
            tables += found
            missing |= lacking
            if shards is not path:
                shards.close()
        elif single:
            tables.append(_classify_pictures(model, [path], _TOGETHER))
    table = tables[0] if len(tables) == 1 else pd.DataFrame([])
    if len(tables) > 1:
        table = pd.concat(tables, ignore_index=True)
    table.attrs["missing"] = missing
    return table


def _is_collection_file(path):
    """Whether a path names a collection that is one file."""
    suffix = Path(path).suffix.lower()
    return suffix in (".h5", ".hdf5") and Path(path).is_file()


def _classify_pictures(model, paths, together=0):
    """Classify picture files, folders of them or a collection, so many at once."""
    rows, waiting, images = [], [], []

    def answer():
        if not images:
            return
        answers = _classify(model, images, together)
        for row, answer in zip(waiting, answers, strict=True):
            row |= answer
            if row["novelty"] > UNLIKE:
                notes = ["unlike the collection", row["note"]]
                row["note"] = "; ".join(note for note in notes if note)
        waiting.clear()
        images.clear()

    blank = {"class": "", "probability": np.nan, "novelty": np.nan}
    others = {}
    for i in range(2, min(len(model.classes_), _MOST_CLASSES) + 1):
        others |= {f"class_{i}": "", f"probability_{i}": np.nan}
    found = (picture for path in paths for picture in _pictures_of(path, model))
    for name, image, note in progress(found, desc="reading pictures", unit="picture"):
        rows.append({"picture": name, **blank, "note": note, **others})
        if image is None:
            continue
        full = len(images) * image.nbytes >= _BATCH_BYTES
        full = len(images) >= together if together else full
        if images and (image.shape != images[0].shape or full):
            answer()
        waiting.append(rows[-1])
        images.append(image)
    answer()
    return pd.DataFrame(rows)


def _unseen(model, collection):
    """Positions to score, a description of them, and of those left out."""
    labeled = np.flatnonzero(collection.labels != "")
    learned = getattr(model, "learned_hashes_", None)
    if learned is None:
        on = "all labeled pictures; the model may have been trained on some of them"
        return labeled, on, ""
    hashes = _hashes_of(collection, labeled)
    seen = np.isin(hashes, learned)
    if seen.all():
        raise ValueError(
            f"The model was trained on all {len(labeled):,} labeled pictures of "
            f"{collection.path.name}; evaluate it on others."
        )
    n_held = int(np.isin(hashes[~seen], model.held_out_hashes_).sum())
    n_new = int((~seen).sum()) - n_held
    on = "the pictures held out in training"
    if n_new:
        on = f"{n_held:,} held out in training, {n_new:,} new to the model"
    left_out = ""
    if seen.any():
        left_out = f"{int(seen.sum()):,} pictures that the model was trained on"
    return labeled[~seen], on, left_out


def _hashes_of(collection, positions):
    """Content hashes of some pictures, read in blocks."""
    blocks = [
        _content_hashes(collection[positions[start : start + 1024]])
        for start in range(0, len(positions), 1024)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint64)


def evaluate_classifier(model, collection, split=None):
    """Score a classifier on the pictures of a collection that it was not trained on.

    Parameters
    ----------
    model : classifier
        A model of `train_classifier` recognizes its training pictures by content,
        whatever their keys and rotation; for other models, all labeled pictures are
        scored.
    collection : Collection
        Pictures of the model's shape, with labels.
    split : path of a CSV or DataFrame, optional
        As in `holdout`; overrides the model's own record.

    Returns
    -------
    report : dict
        ``on`` (the pictures scored), ``left_out`` (those not scored, and why, or
        empty), ``accuracy``, ``calibration_error``, ``depth`` (of tiles of core: macro-F1
        and accuracy per centimeter, see `geoimages.core.holes.score_per_centimeter`; of
        others None), ``baselines``, ``classes`` and
        ``disturbances`` (DataFrames), ``y``, ``proba`` and ``keys``. The baselines are
        those of `train_classifier`; for a model without them they are learned from
        the training part of `split`, and without one there are none.

    Raises
    ------
    ValueError
        If the pictures have another shape than the model's, or it was trained on all.
    """
    if tuple(collection.image_shape) != tuple(model.image_shape_):
        shapes = [
            " × ".join(map(str, shape))
            for shape in (collection.image_shape, model.image_shape_)
        ]
        height, width, channels = model.image_shape_
        options = []
        if collection.image_shape[:2] != (height, width):
            options.append(f"with --size {height} {width}")
        if collection.image_shape[2] != channels:
            options.append("with --alpha" if channels == 4 else "without --alpha")
        raise ValueError(
            f"{collection.path.name} holds pictures of {shapes[0]}, the model was "
            f"trained on {shapes[1]}; create the collection {' and '.join(options)}."
        )
    baselines = getattr(model, "baselines_", {})
    learned = getattr(model, "learned_hashes_", [])
    if split is None:
        test, on, left_out = _unseen(model, collection)
    else:
        train, test = holdout(collection, split)
        on, left_out = "the split's pictures", ""
        if not baselines:
            baselines = _learn_baselines(
                model, collection[train], collection.labels[train]
            )
        n_seen = int(np.isin(_hashes_of(collection, test), learned).sum())
        if n_seen:
            on += f"; the model was trained on {n_seen:,} of them"
    holes = holes_of(collection)
    if holes is not None and len(learned):
        seen = np.isin(_hashes_of(collection, np.arange(len(collection))), learned)
        check_apart(holes, np.flatnonzero(seen), test)
    images, y = collection[test], collection.labels[test]
    proba = model.predict_proba(images)
    by_depth = None
    if holes is not None:
        rows = collection.table.iloc[test]
        by_depth = score_per_centimeter(rows, y, proba, model.classes_)
    predicted = model.classes_[proba.argmax(axis=1)]
    rows = _rows_of(model, images) if baselines else None
    return {
        "on": f"{len(test):,} pictures: {on}",
        "left_out": left_out,
        "accuracy": accuracy_score(y, predicted),
        "calibration_error": expected_calibration_error(y, proba, model.classes_),
        "depth": by_depth,
        "baselines": baseline_table(baselines, rows, y),
        "classes": classification_report(y, predicted),
        "disturbances": disturbance_table(model, images, y),
        "y": y,
        "proba": proba,
        "keys": collection.keys[test],
    }


def _classes_of(collection):
    """Say which classes a collection has."""
    classes = list(map(str, collection.classes))
    if not classes:
        return "the collection has no labels"
    rest = len(classes) - _MOST_NAMED
    more = f" and {rest:,} more" if rest > 0 else ""
    return f"the collection's classes are {', '.join(classes[:_MOST_NAMED])}{more}"


def find_similar(
    model, collection, candidate, where=None, *, within_class=None, explain=False
):
    """Fit a model on a collection and find the pictures most similar to a candidate.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        A clone of it is fitted on the pictures to search.
    collection : Collection
        The pictures.
    candidate : str or path-like
        A key of the collection, or the path of a picture file.
    where : dict, optional
        Columns of the collection's table and the required value, or a list of
        alternatives.
    within_class : classifier, optional
        Fitted. Only pictures with the label it predicts for the candidate are searched.
    explain : bool, default=False
        Whether to divide each distance among feature blocks.

    Returns
    -------
    matches : DataFrame
        The ranked table of one candidate. ``matches.attrs["notes"]`` describes what was
        compared, how, and how the candidate was prepared.

    Raises
    ------
    KeyError
        If the candidate is neither a key nor a file, or a column is unknown.
    ValueError
        If no picture matches `where`, or has the label predicted.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from geoimages import Collection, PairwiseModel, find_similar, make_rocks
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "rocks.h5"
    >>> rocks = Collection.from_arrays(path, *make_rocks(60, random_state=0))
    >>> key = rocks.keys[0]
    >>> matches = find_similar(PairwiseModel(4), rocks, key, {"label": "marble"})
    >>> set(rocks.labels[rocks.position(key)] for key in matches.index) == {"marble"}
    True
    """
    picture, notes = _read_candidate(collection, candidate)
    known = candidate in collection
    positions, where = np.arange(len(collection)), dict(where or {})
    asked, of_class = conditions(where), ""
    if where:
        positions = collection.where(**where)
    if within_class is not None:
        image, _ = _bring_to_size(picture, within_class)
        (answer,) = _classify(within_class, [image])
        notes.append(
            f"classified as {answer['class']} (probability {answer['probability']:.2f})"
        )
        where["label"] = answer["class"]
        labeled = collection.where(label=answer["class"])
        positions = np.intersect1d(positions, labeled)
        of_class = (
            f"the class {answer['class']!r}, which the model took "
            f"{Path(candidate).name} for"
        )
        if not len(labeled):
            raise ValueError(
                f"No picture of {collection.path.name} has {of_class}; "
                f"{_classes_of(collection)}."
            )
    inside = known and collection.position(candidate) in positions
    if known and not inside:  # its rotated copies may still be there
        lineage = collection.table["lineage"].to_numpy()
        own = lineage[collection.position(candidate)]
        positions = positions[lineage[positions] != own]
    if not len(positions):
        told = ", and ".join(filter(None, [asked, of_class]))
        raise ValueError(f"No picture of {collection.path.name} has {told}.")
    searched = collection
    if where:
        searched = collection.to_frame("uint8", positions)
    model = clone(model).set_params(image_shape=collection.image_shape).fit(searched)
    matches = model.predict(candidate if inside else picture, explain=explain)
    features = "pixels"
    if model.features is not None:
        features = " ".join(repr(model.features).split())  # on one line
    compared = f"compared {len(positions):,} pictures: {features}, {model.dist_metric}"
    if "same" in matches and len(matches):
        same = matches["same"].iloc[0]
        notes.append(
            f"{'found' if same >= FOUND else 'not found'}: {matches.index[0]}, the best "
            f"match, is the same picture with probability {same:.2f}"
        )
    matches.attrs["notes"] = [compared, *notes]
    return matches


def _read_candidate(collection, candidate):
    """Read the picture of a key or file in the collection's size, with notes."""
    if candidate in collection:
        return collection[candidate], []
    if not Path(candidate).is_file():
        raise KeyError(
            f"{str(candidate)!r} is neither a picture file nor a key of "
            f"{collection.path.name}; keys look like {str(collection.keys[0])!r}."
        )
    image = read_image(candidate, alpha=collection.image_shape[2] == 4)
    had, size = image.shape[:2], tuple(collection.image_shape[:2])
    if had == size:
        return image, []
    note = (
        f"resized {Path(candidate).name} from {had[0]} × {had[1]} to "
        f"{size[0]} × {size[1]} pixels ({collection.fit})"
    )
    return resize_image(image, size, collection.fit), [note]


def fit_keeping(model, collection):
    """Fit a similarity model, and keep its fitted features beside the collection.

    A second time they are read instead of learned; deleting the files costs time only.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        A clone of it is fitted.
    collection : Collection
        Opened with ``"r+"``, or nothing is kept.

    Returns
    -------
    model : PairwiseModel or KMeansModel
        Fitted.
    """
    model = clone(model).set_params(image_shape=collection.image_shape)
    features = model.features
    if hasattr(features, "fit") and not isinstance(features, FrozenEstimator):
        digest = collection.digest(features)
        fitted = _kept(collection, digest)
        if fitted is None:
            labels = collection.labels if len(collection.classes) else None
            fitted = clone(features).fit(collection[:], labels)
            if digest and collection.keeps:
                with contextlib.suppress(OSError, TypeError, NotFittedError):
                    save(fitted, collection.cache.path_of(digest))
                    fitted = _kept(collection, digest) or fitted
        model.set_params(features=FrozenEstimator(fitted))
    return model.fit(collection)


def _kept(collection, digest):
    """The fitted features that were kept under a digest, or None."""
    with contextlib.suppress(OSError, ValueError):
        fitted = load(collection.cache.path_of(digest)) if digest else None
        if fitted is not None:
            del fitted.about_  # it would count as a part of the fitted state
        return fitted
    return None


@dataclass
class Answer:
    """What is known of one picture: result of `ask`.

    Parameters
    ----------
    picture : ndarray of shape (height, width, channels), uint8
        The candidate as it was compared.
    matches : DataFrame
        The ranked table, with ``same``: the probability that a match is the candidate's
        own picture.
    classes : DataFrame
        Index ``class``, the three most probable first; ``probability``. Empty without a
        classifier.
    novelty : float
        Percentile of the distance to the training pictures; NaN without a classifier.
    notes : list of str
        What was compared, and how the candidate was prepared.
    """

    picture: np.ndarray
    matches: pd.DataFrame
    classes: pd.DataFrame
    novelty: float = np.nan
    notes: list = field(default_factory=list)

    @property
    def found(self):
        """Whether the best match is probably the candidate's own picture."""
        same = self.matches["same"]
        return bool(len(same)) and bool((same >= FOUND).any())


def ask(
    model,
    collection,
    candidate,
    *,
    where=None,
    box=None,
    k_candidates=None,
    dist_metric=None,
    orientation=None,
    classifier=None,
    max_pixels=MAX_PIXELS,
):
    """Answer what a picture shows, and where else it was seen, with fitted models.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        Fitted on the collection.
    collection : Collection
        The pictures.
    candidate : str or bytes
        A key of the collection, or the content of a picture file.
    where : dict, optional
        Columns of the collection's table and the required values; only these pictures
        are searched.
    box : tuple of float, optional
        (left, top, right, bottom) of the part to compare, as shares of the picture.
    k_candidates, dist_metric, orientation
        Of the model, for this question.
    classifier : classifier, optional
        Fitted, such as a `ConvNetClassifier`.
    max_pixels : int, optional
        Larger pictures are refused before they are decoded.

    Returns
    -------
    answer : Answer

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    KeyError
        If there is no such key or column.
    ValueError
        If an option is unknown, or no picture matches `where`.
    """
    notes, among = [], None
    if where:
        among = collection.where(**where)
        if not len(among):
            raise ValueError(
                f"No picture of {collection.path.name} has {conditions(where)}."
            )
    whole = read_candidate(collection, candidate, box, max_pixels)
    asked = candidate if isinstance(candidate, str) and box is None else None
    size, had = tuple(collection.image_shape[:2]), whole.shape[:2]
    picture = resize_image(whole, size, collection.fit)
    if had != size:
        notes.append(
            f"resized from {had[0]} × {had[1]} to {size[0]} × {size[1]} pixels"
            + ("" if collection.fit == "crop" else f" ({collection.fit})")
        )
    matches = model.predict(
        picture if asked is None else asked,
        k_candidates,
        dist_metric,
        orientation=orientation,
        explain=can_explain(model, dist_metric),
        among=among,
    )
    if isinstance(candidate, str) and asked is None:  # a part would find its whole
        own = pd.Series(model.lineage_, model.keys_)
        matches = matches[(own[matches.index] != own[candidate]).to_numpy()]
    if len(matches) and "same" not in matches:
        matches = _verified(matches, picture, collection[matches.index.tolist()])
    n_searched = len(collection) if among is None else len(among)
    notes.insert(0, f"compared with {n_searched:,} pictures")
    classes, novelty = pd.DataFrame({"probability": []}), np.nan
    if classifier is not None:
        classes, novelty = _classes_and_novelty(classifier, whole)
    return Answer(picture, matches, classes.rename_axis("class"), novelty, notes)


def read_candidate(collection, candidate, box=None, max_pixels=MAX_PIXELS):
    """Read the picture of a key or of a file's content, or a part: (h, w, 3 or 4) uint8.

    The parameters are those of `ask`.
    """
    if isinstance(candidate, str):
        image = collection[candidate]
    else:
        alpha = collection.image_shape[2] == 4
        image = read_image(
            candidate, alpha=alpha, name="the picture", max_pixels=max_pixels
        )
    return image if box is None else _part(image, box)


def _part(image, box):
    """Cut a box, in shares of a picture, out of it."""
    left, top, right, bottom = map(float, box)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"box={tuple(box)} must be left, top, right and bottom from 0 to 1."
        )
    height, width = image.shape[:2]
    rows = slice(int(top * height), max(int(top * height) + 1, round(bottom * height)))
    columns = slice(int(left * width), max(int(left * width) + 1, round(right * width)))
    return np.ascontiguousarray(image[rows, columns])


def _verified(matches, picture, stored):
    """Add to a ranked table how probably each match is the picture itself."""
    images = np.concatenate([picture[None], stored])
    rgb, mask = split_mask(images)
    if mask is None and images.shape[3] == 4:
        mask = np.ones(images.shape[:3], bool)
    small = verification.thumbnails(rgb, mask)
    distance, degrees, mirrored = verification.verify(small[0], small[1:], "any")
    same = verification.match_probability(distance)
    if "orientation" not in matches:
        matches = matches.assign(
            orientation=np.where(same >= FOUND, degrees, np.nan),
            mirrored=mirrored & (same >= FOUND),
        )
    return matches.assign(same=same)


def _classes_and_novelty(classifier, image):
    """The three most probable classes of one picture of any size, and its novelty."""
    channels = classifier.image_shape_[2]
    image = on_white(image) if image.shape[2] == 4 and channels == 3 else image
    image, _ = _bring_to_size(image, classifier)
    if image.shape[2] < channels:
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        image = np.concatenate([image, opaque], axis=2)
    (answer,) = _classify(classifier, [image])
    ends = ["", "_2", "_3"]
    names = [answer[f"class{end}"] for end in ends if f"class{end}" in answer]
    values = [answer[f"probability{end}"] for end in ends[: len(names)]]
    return pd.DataFrame({"probability": values}, index=names), answer["novelty"]
