"""Blind votes: which of two answers people prefer."""

from .preferences import (
    Preference,
    bradley_terry,
    preference,
    votes_needed,
)
from .terminal import vote_in_terminal
from .trials import Trial, Trials, blind_trials
from .votes import Votes, record_votes, triplets_from_votes

__all__ = [
    "Preference",
    "Trial",
    "Trials",
    "Votes",
    "blind_trials",
    "bradley_terry",
    "preference",
    "record_votes",
    "triplets_from_votes",
    "vote_in_terminal",
    "votes_needed",
]
