"""Blind votes on the answers of two models."""

from .design import blind_trials
from .preferences import Preference, preference
from .statistics import bradley_terry, votes_needed
from .terminal import vote_in_terminal
from .trials import Trial, Trials
from .triplets import triplets_from_votes
from .votes import Votes, record_votes

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
