"""Let a person vote in a terminal, with a picture file beside it."""

import time
from collections import deque
from pathlib import Path

from .votes import check_voter

_ANSWERS = ("left", "right", "tie", "skip", "back", "quit")
_QUESTION = "Left, right, tie, skip, back or quit? [l/r/t/s/b/q] "


def _ask(ask, show):
    """Ask until the answer is one: a choice, "back" or "quit"."""
    while True:
        try:
            answer = ask(_QUESTION).strip().lower()
        except EOFError:
            return "quit"
        answer = next((a for a in _ANSWERS if answer in (a[0], a)), None)
        if answer:
            return answer
        show("Please answer with l, r, t, s, b or q.")


def _check_pictures(trials, collection):
    """Raise a KeyError where the collection lacks a picture of the trials."""
    for trial in trials:
        for key in (trial.query, *trial.left, *trial.right):
            if key not in collection:
                raise KeyError(
                    f"{key!r} of the trials is not in {collection.path.name}; give the "
                    "collection that the trials were drawn from."
                )


def vote_in_terminal(votes, collection, voter, picture_path, *, ask=input, show=print):
    """Show trials one by one as a picture file and record the votes.

    The file is replaced atomically, so a viewer that follows it shows the current
    trial. A vote is recorded before the next trial is shown, so voting can be
    interrupted and resumed at any time. ``b`` goes back to the previous trial, and the
    new vote replaces the old one.

    Parameters
    ----------
    votes : Votes
        As returned by `record_votes`.
    collection : Collection
        The pictures.
    voter : str
        Name of the voter.
    picture_path : str or path-like
        The picture file to write, usually ``.png``.
    ask : callable, default=input
        Called with a question, returns the answer. An EOFError means quit.
    show : callable, default=print
        Called with a line to print.

    Returns
    -------
    n_votes : int
        Answers recorded this time.

    Raises
    ------
    KeyError
        If a picture of the trials is not in the collection.
    ValueError
        If the voter has no name.
    """
    from ..visualize import save_figure, trial_sheet  # half a second of matplotlib

    picture_path, voter = Path(picture_path), check_voter(voter)
    pending = votes.pending(voter)
    trials = votes.trials
    _check_pictures(pending, collection)
    if not pending:
        show(f"{voter} has answered all {len(trials)} trials.")
        return 0
    table = votes.table
    answered = [trials[name] for name in table["trial"][table["voter"] == voter]]
    places = {trial.name: place for place, trial in enumerate(trials, 1)}
    queue, n_votes = deque(pending), 0
    show(f"Open {picture_path}; it changes with each question.")
    while queue:
        trial = queue[0]
        number = f"trial {places[trial.name]} of {len(trials)}"
        sheet = trial_sheet(trial.query, trial.left, trial.right, collection, number)
        save_figure(sheet, picture_path)
        show(f"{number.capitalize()}: which side is more like the query?")
        started = time.monotonic()
        answer = _ask(ask, show)
        if answer == "quit":
            break
        if answer == "back":
            if answered:
                queue.appendleft(answered.pop())
            else:
                show("This is the first trial.")
            continue
        votes.record(trial.name, voter, answer, time.monotonic() - started)
        n_votes += 1
        answered.append(queue.popleft())
    left = len(votes.pending(voter))
    show(f"{n_votes} answers recorded in {votes.path}; {left} trials are left.")
    return n_votes
