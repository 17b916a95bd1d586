"""The learning curve and the feature maps of fitted networks."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier

from geoimages import (
    ConvFeatures,
    MLPEmbedding,
    Plots,
    RockFeatures,
    TripletEmbedding,
)


@pytest.fixture(scope="module")
def conv(pictures):
    return ConvFeatures(8, random_state=0).fit(pictures[0])


def test_a_learning_curve_has_losses_and_the_score():
    X, y = load_iris(return_X_y=True)
    model = MLPEmbedding((8,), max_epochs=7, averaged_epochs=3, random_state=0)
    figure = Plots.learning_curve(model.fit(X, y))
    loss, score = figure.axes
    training, validation = (line.get_ydata() for line in loss.lines)
    np.testing.assert_array_equal(training, model.loss_curve_)
    np.testing.assert_array_equal(validation, model.validation_loss_curve_)
    np.testing.assert_array_equal(
        score.lines[0].get_ydata(), model.validation_score_curve_
    )
    shaded = loss.patches[0].get_extents().transformed(loss.transData.inverted())
    assert (round(shaded.x0), round(shaded.x1)) == (5, 7)
    names = [text.get_text() for text in loss.get_legend().get_texts()]
    assert names == ["training", "validation", "weights averaged\n(last 3 epochs)"]


def test_other_networks_have_a_learning_curve():
    X, y = load_iris(return_X_y=True)
    triplets = TripletEmbedding(2, max_epochs=3, random_state=0).fit(X, y)
    assert len(Plots.learning_curve(triplets).axes) == 2
    judged = TripletEmbedding(2, random_state=0)
    judged.fit_triplets(X, [[i, 149 - i, i + 1] for i in range(50)])
    assert len(Plots.learning_curve(judged).axes) == 1
    theirs = MLPClassifier((4,), early_stopping=True, max_iter=5, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        theirs.fit(X, y)
    score = Plots.learning_curve(theirs).axes[1]
    np.testing.assert_array_equal(score.lines[0].get_ydata(), theirs.validation_scores_)
    theirs.validation_scores_ = [0.5, 1.0]
    assert Plots.learning_curve(theirs).axes[1].get_ylim()[1] == 1
    with pytest.raises(ValueError, match="RockFeatures has no learning curve"):
        Plots.learning_curve(RockFeatures())


def test_feature_maps_pool_to_the_columns(conv, pictures):
    images = pictures[0][:5]
    maps = conv.feature_maps(images)
    assert maps.shape == (5, 12, 12, 8)
    pooled = [np.maximum(sign * maps, 0).mean(axis=(1, 2)) for sign in (1, -1)]
    power = (maps**2).mean(axis=(1, 2))
    wanted = np.hstack([*np.sqrt(pooled), power**0.25])
    np.testing.assert_allclose(conv.transform(images), wanted, atol=2e-3)


def test_feature_maps_are_zero_off_the_rock(pictures):
    mask = np.zeros((6, 28, 28, 1), np.uint8)
    mask[:, :, :14] = 255
    images = np.concatenate([pictures[0][:6], mask], axis=3)
    maps = ConvFeatures(8, random_state=0).fit(images).feature_maps(images)
    assert (maps[:, :, 5:] == 0).all()
    assert (maps[:, :, :5] != 0).any()


def test_activations_show_the_picture_and_a_map_of_each_filter(conv, pictures):
    picture = pictures[0][0]
    figure = Plots.activations(conv, picture)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 9
    np.testing.assert_array_equal(shown[0], picture)
    np.testing.assert_array_equal(shown[3], conv.feature_maps(picture[None])[0, ..., 2])
    assert len({ax.images[0].get_clim() for ax in figure.axes[1:]}) == 1
    rock = RockFeatures(n_filters=5).fit(pictures[0][:30])
    assert len(Plots.activations(rock, picture).axes) == 6
    with pytest.raises(TypeError, match=r"path 'a.png'; read .* read_image\('a.png'\)"):
        Plots.activations(conv, "a.png")
    with pytest.raises(ValueError, match="one picture of shape"):
        Plots.activations(conv, pictures[0])
    with pytest.raises(ValueError, match="has no learned filters"):
        Plots.activations(RockFeatures(conv=0).fit(pictures[0]), picture)


def test_maps_have_the_numbers_of_their_filters(conv, pictures, monkeypatch):
    maps = conv.feature_maps(pictures[0][:1])
    maps[..., 3] = 0
    monkeypatch.setattr(ConvFeatures, "feature_maps", lambda self, X: maps)
    axes = Plots.activations(conv, pictures[0][0]).axes
    told = [ax.get_xlabel() for ax in axes]
    assert told == ["picture", "0", "1", "2", "3: none", "4", "5", "6", "7"]
    assert axes[4].images[0].get_cmap() != axes[5].images[0].get_cmap()
    assert [ax.get_xlabel() for ax in Plots.filters(conv).axes] == list("01234567")
