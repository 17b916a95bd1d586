"""The classifier's work on files: train on a collection, classify pictures, evaluate."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss

from .collection.splits import split as split_collection
from .evaluate import (
    classification_report,
    disturbance_table,
    expected_calibration_error,
)
from .files import progress
from .neural.classifier import ConvNetClassifier
from .pictures.reading import ImageReadError, read_image
from .pictures.resizing import resize_image

UNLIKE = 99
"""Novelty, in percent, above which a picture is unlike the collection."""


def holdout(collection, split=None, share=0.15, random_state=0):
    """Part a collection's labelled pictures into train and test.

    Turned copies stay on their original's side, and copies of a picture on one.

    Parameters
    ----------
    collection : Collection
        The pictures.
    split : path of a CSV or DataFrame, optional
        Columns ``key`` and ``split``; pictures marked ``train`` are learned from, all
        others it names are tested on.
    share : float, default=0.15
        Without `split`, the share of each class to test on; see
        `geoimages.split`.
    random_state : int, RandomState or None, default=0
        Seed.

    Returns
    -------
    train, test : ndarray of int
        Positions.

    Raises
    ------
    ValueError
        If the table lacks its columns, or names no picture of one side.
    """
    labelled = np.flatnonzero(collection.labels != "")
    if not len(labelled):
        raise ValueError(
            f"No picture of {collection.path.name} has a label; put pictures into a "
            "folder for each class, or give a metadata table with a column 'label'."
        )
    if split is None:
        parts = split_collection(collection, share, random_state=random_state)
        return np.intersect1d(parts.train, labelled), np.intersect1d(
            parts.test, labelled
        )
    if not isinstance(split, pd.DataFrame) and not Path(split).is_file():
        raise FileNotFoundError(
            f"No split at {split}; give a CSV with the columns key and split, which "
            "'geoimages split' writes."
        )
    table = split if isinstance(split, pd.DataFrame) else pd.read_csv(split)
    if not {"key", "split"} <= set(table.columns):
        raise ValueError(
            f"A split has the columns 'key' and 'split', got "
            f"{', '.join(map(str, table.columns))}."
        )
    side = dict(zip(table["key"].astype(str), table["split"], strict=True))
    sides = np.array([side.get(key, "") for key in collection.keys[labelled].tolist()])
    train, test = (
        labelled[sides == "train"],
        labelled[(sides != "train") & (sides != "")],
    )
    if not len(train) or not len(test):
        raise ValueError(
            f"The split marks {len(train)} pictures of {collection.path.name} as train "
            f"and {len(test)} as something else; both are needed."
        )
    return train, test


def train_classifier(collection, model=None, *, split=None, share=0.15, random_state=0):
    """Train a classifier on a part of a collection and score it on the rest.

    Parameters
    ----------
    collection : Collection
        Pictures with labels.
    model : classifier, optional
        By default a `ConvNetClassifier`.
    split, share, random_state
        As in `holdout`.

    Returns
    -------
    model : classifier
        Fitted.
    scores : dict
        ``accuracy``, ``log_loss``, ``calibration_error``, ``train_pictures`` and
        ``test_pictures``.
    test_keys : list of str
        The pictures it was scored on.
    """
    train, test = holdout(collection, split, share, random_state)
    if model is None:
        model = ConvNetClassifier(random_state=random_state)
    model.fit(collection[train], collection.labels[train])
    y, proba = collection.labels[test], model.predict_proba(collection[test])
    known = np.isin(y, model.classes_)
    scores = {
        "accuracy": accuracy_score(y, model.classes_[proba.argmax(axis=1)]),
        "log_loss": log_loss(y[known], proba[known], labels=model.classes_),
        "calibration_error": expected_calibration_error(y, proba, model.classes_),
        "train_pictures": len(train),
        "test_pictures": len(test),
    }
    return model, scores, collection.keys[test].tolist()


def classify_files(model, paths):
    """Classify picture files of any size.

    Parameters
    ----------
    model : ConvNetClassifier
        Fitted.
    paths : sequence of path-like
        Pictures.

    Returns
    -------
    table : DataFrame
        A row for each file: ``picture``, ``class``, ``probability``, ``novelty``
        (percentile of its distance to the training pictures among held-out ones) and
        ``note``: that it was resized, that it is unlike the collection, or why it
        could not be read.
    """
    height, width, channels = model.image_shape_
    images, rows = [], []
    for path in progress(paths, desc="reading pictures", unit="picture"):
        row = {"picture": str(path), "class": "", "probability": np.nan}
        row |= {"novelty": np.nan, "note": ""}
        try:
            image = read_image(path, alpha=channels == 4)
        except ImageReadError as error:
            row["note"] = str(error).removeprefix(f"{Path(path)}: ")
        else:
            if image.shape[:2] != (height, width):
                row["note"] = (
                    f"resized from {image.shape[0]} × {image.shape[1]} to "
                    f"{height} × {width}"
                )
                image = resize_image(image, (height, width))
            row["image"] = len(images)
            images.append(image)
        rows.append(row)
    if images:
        images = np.stack(images)
        proba, novelty = model.predict_proba(images), model.novelty(images)
        for row in rows:
            if "image" not in row:
                continue
            i = row.pop("image")
            row["class"] = str(model.classes_[proba[i].argmax()])
            row["probability"], row["novelty"] = proba[i].max(), novelty[i]
            if novelty[i] > UNLIKE:
                notes = ["unlike the collection", row["note"]]
                row["note"] = "; ".join(note for note in notes if note)
    return pd.DataFrame(rows)


def evaluate_classifier(model, collection, split=None):
    """Score a classifier on the pictures of a collection that it did not learn from.

    Parameters
    ----------
    model : classifier
        As `load` returned it: then it knows its test pictures.
    collection : Collection
        Pictures of the model's shape, with labels.
    split : path of a CSV or DataFrame, optional
        As in `holdout`; replaces what the model knows.

    Returns
    -------
    report : dict
        ``on`` (which pictures), ``accuracy``, ``calibration_error``, ``classes`` and
        ``disturbances`` (DataFrames), ``y``, ``proba`` and ``keys``.

    Raises
    ------
    ValueError
        If the pictures have another shape than the model's.
    """
    if tuple(collection.image_shape) != tuple(model.image_shape_):
        shapes = [
            " × ".join(map(str, shape))
            for shape in (collection.image_shape, model.image_shape_)
        ]
        raise ValueError(
            f"{collection.path.name} holds pictures of {shapes[0]}, the model was "
            f"trained on {shapes[1]}; make the collection with --size "
            f"{model.image_shape_[0]} {model.image_shape_[1]}."
        )
    tested = getattr(model, "about_", {}).get("test_keys", [])
    tested = [collection.position(key) for key in tested if key in collection]
    if split is not None:
        test, on = holdout(collection, split)[1], "the split's pictures"
    elif tested:
        test, on = np.array(tested), "the pictures held out in training"
    else:
        test = np.flatnonzero(collection.labels != "")
        on = "all labelled pictures; the model may have learned from some of them"
    images, y = collection[test], collection.labels[test]
    proba = model.predict_proba(images)
    predicted = model.classes_[proba.argmax(axis=1)]
    return {
        "on": f"{len(test):,} pictures: {on}",
        "accuracy": accuracy_score(y, predicted),
        "calibration_error": expected_calibration_error(y, proba, model.classes_),
        "classes": classification_report(y, predicted),
        "disturbances": disturbance_table(model, images, y),
        "y": y,
        "proba": proba,
        "keys": collection.keys[test],
    }


def find_similar(model, collection, candidate, where=None, *, explain=False):
    """Fit a model on a collection and find what is most like a candidate.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        A clone of it is fitted on the pictures that `where` leaves.
    collection : Collection
        The pictures.
    candidate : str or path-like
        A key of the collection, or else the path of a picture file.
    where : dict, optional
        Columns of the collection's table and the value each must have, or a list of
        values, any of which will do.
    explain : bool, default=False
        Whether to share each distance out between blocks of features.

    Returns
    -------
    matches : DataFrame
        The ranked table of one candidate.

    Raises
    ------
    KeyError
        If the candidate is neither a key nor a file, or a column is unknown.
    ValueError
        If no picture fits `where`.

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
    known = candidate in collection
    if not known and not Path(candidate).is_file():
        raise KeyError(
            f"{str(candidate)!r} is neither a picture file nor a key of "
            f"{collection.path.name}; keys look like "
            f"{str(collection.keys[0])!r}."
        )
    model = clone(model).set_params(image_shape=collection.image_shape)
    if not where:
        model.fit(collection)
        candidate = candidate if known else collection.read(candidate)
        return model.predict(candidate, explain=explain)
    positions = collection.where(**where)
    inside = known and collection.position(candidate) in positions
    if known and not inside:  # its turned copies may be there all the same
        lineage = collection.table["lineage"]
        copies = (lineage == lineage[candidate]).to_numpy()
        positions = positions[~copies[positions]]
    if not len(positions):
        raise ValueError(f"No picture of {collection.path.name} has {where}.")
    model.fit(collection.to_frame("uint8", positions))
    if inside:
        return model.predict(candidate, explain=explain)
    picture = collection[candidate] if known else collection.read(candidate)
    return model.predict(picture, explain=explain)
