"""A person votes in a terminal and sees a picture for each question."""

import numpy as np
import pytest
from PIL import Image

from geoimages import (
    Collection,
    PairwiseModel,
    blind_trials,
    record_votes,
    vote_in_terminal,
)
from geoimages.visualize.trials import trial_sheet


@pytest.fixture(scope="module")
def trials(rocks):
    models = {
        name: PairwiseModel(dist_metric=name).fit(rocks)
        for name in ("correlation", "cityblock")
    }
    return blind_trials(models, rocks, k=3, n_trials=5, repeats=0, random_state=0)


@pytest.fixture
def votes(tmp_path, trials):
    return record_votes(tmp_path / "a.votes", trials)


@pytest.fixture
def sit(votes, rocks, tmp_path):
    """Let a voter give answers; returns the number recorded and what was shown."""

    def vote(answers, voter="ann"):
        given, shown = iter(answers), []

        def ask(question):
            assert "[l/r/t/s/b/q]" in question
            with Image.open(tmp_path / "trial.png") as picture:
                picture.load()
            answer = next(given)
            if answer is None:
                raise EOFError
            return answer

        n = vote_in_terminal(
            votes, rocks, voter, tmp_path / "trial.png", ask=ask, show=shown.append
        )
        return n, "\n".join(shown)

    return vote


def test_a_sitting_is_recorded_and_goes_on_another_time(sit, votes):
    n, shown = sit(["l", "RIGHT ", "x", "", "t", "q"])
    assert n == 3
    assert shown.count("Please answer with l, r, t, s, b or q.") == 2
    assert "Trial 4 of 5" in shown
    assert "3 answers recorded" in shown
    assert "2 trials are left" in shown
    assert votes.table["choice"].tolist() == ["left", "right", "tie"]
    assert (votes.table["seconds"] >= 0).all()
    n, shown = sit(["s", None])
    assert n == 1
    assert "Trial 4 of 5" in shown
    n, shown = sit(["l"])
    assert n == 1
    assert "0 trials are left" in shown
    n, shown = sit([])
    assert (n, shown) == (0, "ann has answered all 5 trials.")


def test_an_answer_is_changed(sit, votes):
    n, shown = sit(["b", "l", "l", "b", "b", "r", "t", "q"])
    assert n == 4
    assert "This is the first trial." in shown
    assert votes.table["choice"].tolist() == ["right", "tie"]
    assert len(votes.history) == 4
    n, _ = sit(["b", "s", "q"])  # one of an earlier sitting
    assert n == 1
    assert votes.table.sort_values("trial")["choice"].tolist() == ["right", "skip"]


def test_an_answer_is_on_the_disk_before_the_next_question(sit, votes):
    with pytest.raises(StopIteration):
        sit(["l", "r"])  # then the terminal is gone
    assert votes.history["choice"].tolist() == ["left", "right"]


def test_another_collection_and_no_name_are_said(votes, rocks, tmp_path, pictures):
    with (
        Collection.from_arrays(tmp_path / "b.h5", pictures[0][:5]) as other,
        pytest.raises(KeyError, match="is not in b.h5; give the collection"),
    ):
        vote_in_terminal(votes, other, "ann", tmp_path / "trial.png")
    with pytest.raises(ValueError, match="voter must be a name"):
        vote_in_terminal(votes, rocks, " ", tmp_path / "trial.png")
    assert not (tmp_path / "trial.png").exists()


@pytest.mark.parametrize("k", [1, 2, 5, 12])
def test_the_sheet_shows_each_picture_in_its_place(rocks, k):
    keys = rocks.keys.tolist()
    left, right = keys[1 : k + 1], keys[20 : 20 + k]
    figure = trial_sheet(keys[0], left, right, rocks, "trial 1 of 9")
    figure.draw_without_rendering()
    query, *others = figure.axes
    np.testing.assert_array_equal(query.images[0].get_array(), rocks[keys[0]])
    for ax, key in zip(others, left + right, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), rocks[key])
    middle = [(b.x0 + b.x1) / 2 for b in (ax.get_position() for ax in others)]
    assert max(middle[:k]) < 0.5 < min(middle[k:])
    text = [t.get_text() for ax in figure.axes for t in (ax.title, ax.xaxis.label)]
    text += [t.get_text() for t in figure.texts]
    assert not any(key in line for key in keys for line in text if line)
    assert not any(name in line for name in rocks.classes for line in text)


def test_the_sheet_of_pixels_and_of_large_pictures(rocks):
    keys = rocks.keys.tolist()
    sheet = trial_sheet(np.zeros((900, 300, 3), np.uint8), keys[:2], keys[2:3], rocks)
    assert sheet.axes[0].images[0].get_array().shape == (512, 171, 3)
    assert len(sheet.axes) == 4
    with pytest.raises(ValueError, match="got 0 left and 1 right"):
        trial_sheet(keys[0], [], keys[:1], rocks)
    with pytest.raises(KeyError, match="'nobody' is not a key"):
        trial_sheet("nobody", keys[:1], keys[:1], rocks)
