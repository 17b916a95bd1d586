"""What the similarity models find: the same class, and the same picture again.

Collection = train, queries = dev where the split file is (``GEOIMAGES_DATA``), else a
part of three thousand drawn pictures is held out. The precisions are of all queries;
mean average precision, which ranks the whole collection, of every tenth.
"""

import time
from types import MappingProxyType

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from geoimages import (
    Collection,
    ConvNetClassifier,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    TripletEmbedding,
    holdout,
    retrieval_scores,
)

from .data import archive, temporary
from .transformations import TRANSFORMATIONS, transformed


def _parts():
    """(train rows as a DataFrame, labels, test pictures, labels)."""
    split = archive().parent / "geological_similarity_split.csv"
    with Collection.create(temporary("rocks.h5"), archive()) as rocks:
        train, test = holdout(rocks, split if split.exists() else None)
        frame, images = rocks.to_frame("uint8", train), rocks[test]
        return frame, rocks.labels[train], images, rocks.labels[test]


def _print(table):
    text = table.to_string(index=False, float_format="{:.3f}".format)
    print("  " + text.replace("\n", "\n  "))


class SameClass:
    """The same class: precision at 10 and mean average precision."""

    ONCE = True
    MODELS = MappingProxyType(
        {
            "pixels": lambda: PairwiseModel(),
            "pixels, rotations": lambda: PairwiseModel(orientation="rotations"),
            "color": lambda: PairwiseModel(features=RockFeatures(texture=0, conv=0)),
            "texture": lambda: PairwiseModel(features=RockFeatures(color=0, tone=0)),
            "RockFeatures": lambda: PairwiseModel(features=RockFeatures()),
            "PatternFeatures, not re-ranked": lambda: PairwiseModel(
                features=PatternFeatures(), rerank=None
            ),
            "TripletEmbedding (labels)": lambda: PairwiseModel(
                features=make_pipeline(RockFeatures(), TripletEmbedding(random_state=0))
            ),
            "ConvNetClassifier (labels)": lambda: PairwiseModel(
                dist_metric="cosine", features=ConvNetClassifier(random_state=0)
            ),
        }
    )

    def setup(self):
        self.frame, self.y, self.images, self.labels = _parts()

    def time_all(self):
        rows = []
        for name, make in self.MODELS.items():
            start = time.perf_counter()
            model = make().fit(self.frame, self.y)
            fitted = time.perf_counter()
            asked = slice(None) if "pixels" not in name else slice(None, None, 10)
            scores = retrieval_scores(
                model, self.images[asked], self.labels[asked], ks=(10,), full=False
            )
            seconds = time.perf_counter() - fitted
            few = retrieval_scores(
                model, self.images[::10], self.labels[::10], ks=(10,)
            )
            rows.append(
                {
                    "compares": name,
                    "precision@10": scores.per_query["precision@10"].mean(),
                    "mAP": few.per_query["mAP"].mean(),
                    "fit s": fitted - start,
                    "ms a candidate": 1e3 * seconds / len(self.images[asked]),
                }
            )
        _print(pd.DataFrame(rows))


class SamePicture:
    """The same picture again: how often it comes first after seven transformations."""

    ONCE = True
    MODELS = MappingProxyType(
        {
            "pixels, rotations": lambda: PairwiseModel(1, orientation="rotations"),
            "RockFeatures": lambda: PairwiseModel(1, features=RockFeatures()),
            "PatternFeatures, not re-ranked": lambda: PairwiseModel(
                1, features=PatternFeatures(), orientation="any", rerank=None
            ),
            "PatternFeatures": lambda: PairwiseModel(
                1, features=PatternFeatures(), orientation="any"
            ),
        }
    )

    def setup(self):
        self.frame, *_ = _parts()
        rng = np.random.default_rng(0)
        self.keys = self.frame.index[rng.choice(len(self.frame), 500, replace=False)]
        side = int(np.sqrt(self.frame.shape[1] / 3))
        images = self.frame.loc[self.keys].to_numpy().reshape(-1, side, side, 3)
        self.queries = {name: transformed(images, name) for name in TRANSFORMATIONS}

    def time_all(self):
        table, seconds = {}, {}
        for name, make in self.MODELS.items():
            model = make().fit(self.frame)
            start = time.perf_counter()
            first = {
                how: model.predict(images).index.get_level_values("key")
                for how, images in self.queries.items()
            }
            seconds[name] = time.perf_counter() - start
            table[name] = {
                how: np.mean(keys == self.keys) for how, keys in first.items()
            }
        table = pd.DataFrame(table)
        summary = table.agg(["mean", "min"])
        count = len(self.keys) * len(TRANSFORMATIONS)
        summary.loc["ms a candidate"] = pd.Series(seconds) * 1e3 / count
        _print(pd.concat([table, summary]).rename_axis("transformation").reset_index())


SUITES = [SameClass, SamePicture]
