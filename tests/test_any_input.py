"""Any finite input of any shape: a documented answer, or one line of ours."""

import math
import traceback

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from geoimages import (
    ColorFeatures,
    ConvFeatures,
    ConvNetClassifier,
    FisherFeatures,
    HOGFeatures,
    KMeansModel,
    MLPEmbedding,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    TextureFeatures,
    TripletEmbedding,
    find_duplicates,
    resize_image,
)

OURS = ("geoimages/", "sklearn/utils/", "sklearn\\utils\\")
VALUES = {
    "uint8": lambda rng, shape: rng.integers(0, 256, shape).astype(np.uint8),
    "integers": lambda rng, shape: rng.integers(0, 256, shape),
    "uint16": lambda rng, shape: rng.integers(0, 65536, shape).astype(np.uint16),
    "bool": lambda rng, shape: rng.random(shape) > 0.5,
    "half": lambda rng, shape: rng.random(shape).astype(np.float16),
    "single": lambda rng, shape: rng.random(shape).astype(np.float32),
    "double": lambda rng, shape: rng.random(shape),
    "constant": lambda rng, shape: np.full(
        shape, rng.choice([0, 1, 0.5, 1e-320, 1e300])
    ),
    "few": lambda rng, shape: rng.choice([0, 1.0, 0.25, 0.75], shape),
    "large": lambda rng, shape: rng.choice([0, 1e6, -1e6, 3e5], shape),
    "extreme": lambda rng, shape: rng.choice(
        [0, 1.0, 1e300, -1e300, 1.7e308, 1e160, 1e-200, 5e-324], shape
    ),
}
PANDAS = {"i": "Int64", "u": "UInt8", "b": "boolean", "f": "Float64"}


def as_frame(x):
    return pd.DataFrame(x.reshape(len(x), math.prod(x.shape[1:]))) if x.ndim > 1 else x


def as_nullable_frame(x):
    frame = as_frame(x)
    kind = PANDAS["i" if x.dtype == np.uint16 else x.dtype.kind]
    return frame.astype(kind) if isinstance(frame, pd.DataFrame) else frame


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


CONTAINERS = {
    "array": lambda x: x,
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2] if x.ndim else x,
    "list": lambda x: x.tolist(),
    "frame": as_frame,
    "nullable": as_nullable_frame,
}


@st.composite
def shapes(draw):
    """Mostly of pictures, or of rows of them."""
    n, side = draw(st.sampled_from([1, 2, 5, 5, 0])), st.sampled_from([1, 2, 3, 8])
    height, width, channels = draw(st.tuples(side, side, st.sampled_from([3, 1, 4])))
    pictures = n, height, width, channels
    rows = n, height * width * channels
    odd = [pictures[1:], (n, height, 0, channels), (n, 0), (5,), (), (1, 1, 1, 2, 3)]
    return draw(st.sampled_from([pictures, rows, (n, 1 + 40 * width), *odd, pictures]))


@st.composite
def inputs(draw, shape=None):
    """An array-like of any values."""
    shape = draw(shapes()) if shape is None else shape
    values = draw(st.sampled_from(sorted(VALUES)))
    container = draw(st.sampled_from(sorted(CONTAINERS)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return CONTAINERS[container](np.asarray(VALUES[values](rng, shape)))


@st.composite
def pairs_of_inputs(draw):
    """What is fitted, and what is asked for: the same, of one shape, or any."""
    shape = draw(shapes())
    fitted = draw(inputs(shape))
    kind = draw(st.sampled_from(["same", "shape", "any"]))
    if kind == "same":
        return fitted, fitted
    return fitted, draw(inputs(shape) if kind == "shape" else inputs())


def works_or_is_refused(call, *given):
    """The result, or None after one line of ours; warnings are errors already."""
    try:
        return call(*given)
    except (ValueError, TypeError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1].filename
        assert any(part in last for part in OURS), last
        assert str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return None


SMALL = {"hidden_layer_sizes": (4,), "max_epochs": 2, "random_state": 0}
ESTIMATORS = {
    "pixels": PairwiseModel(2),
    "euclidean": PairwiseModel(2, "euclidean", orientation="rotations"),
    "braycurtis": PairwiseModel(2, "braycurtis"),
    "partitioned": PairwiseModel(2, "cosine", algorithm="partitioned"),
    "k-means": KMeansModel(2, 2, "euclidean"),
    "k-means of directions": KMeansModel(2, 2),
    "rotated pattern": PairwiseModel(2, features=PatternFeatures(), orientation="any"),
    "color": ColorFeatures(),
    "texture": TextureFeatures(),
    "HOG": HOGFeatures(),
    "convolution": ConvFeatures(2),
    "Fisher": FisherFeatures(2, n_patches=50),
    "pattern": PatternFeatures(),
    "rock": RockFeatures(n_filters=2),
    "classifier": ConvNetClassifier(ColorFeatures(), **SMALL),
    "network of pixels": ConvNetClassifier("passthrough", **SMALL),
    "MLP": MLPEmbedding(**SMALL),
    "triplets": TripletEmbedding(2, **SMALL),
}
ANY = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def check_answer(use, answer):
    """Numbers throughout, and no distance below 0."""
    if use == "kneighbors":
        distance, positions = answer
        assert distance.shape == positions.shape
        assert (distance >= 0).all()
    elif isinstance(answer, pd.DataFrame):
        assert not answer.isna().any(axis=None)
        assert answer["similarity"].between(-1, 1).all()
    elif answer.dtype.kind == "f":
        assert np.isfinite(answer).all()
    if use == "predict_proba":
        np.testing.assert_allclose(answer.sum(axis=1), 1)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_take_any_input(name):
    @ANY
    @given(pairs_of_inputs(), st.sampled_from([2, 1, 9]))
    def check(pair, n_classes):
        fitted, asked = pair
        n = len(fitted) if np.ndim(fitted) else 0
        y = np.arange(n) % n_classes
        model = works_or_is_refused(clone(ESTIMATORS[name]).fit, fitted, y)
        for use in ("predict", "kneighbors", "transform", "predict_proba", "novelty"):
            if model is not None and hasattr(model, use):
                answer = works_or_is_refused(getattr(model, use), asked)
                if answer is not None:
                    check_answer(use, answer)

    check()


@ANY
@given(inputs())
def test_functions_of_pictures_take_any_input(pictures):
    works_or_is_refused(find_duplicates, pictures)
    works_or_is_refused(lambda x: resize_image(x, (3, 2)), pictures)
