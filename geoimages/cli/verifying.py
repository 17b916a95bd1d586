"""Verification of a file of any kind."""

from pathlib import Path

from ..collection.sealing import check_apart
from ..collection.store import Collection
from ..persist import load
from ..search.storage import load_index
from ..voting.votes import Votes


def verify_file(path):
    """Check every checksum of a collection, a model, an index or a file of votes.

    Parameters
    ----------
    path : str or path-like
        The file, whose content says what it is, or a folder of shards.

    Returns
    -------
    problems : list of str
        One line for each damaged part of a collection; empty if the file is whole.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be opened at all.
    """
    path = Path(path)
    if path.is_dir():
        with Collection(path) as rocks:
            return rocks.verify()
    if not path.is_file():
        raise FileNotFoundError(f"No file at {path}.")
    with open(path, "rb") as file:
        begin = file.read(16)
    if begin.startswith(b"SQLite format 3"):
        Votes(path).table  # noqa: B018 (which reads all of it)
    elif begin.startswith(b"PK"):
        load(path)
    elif begin[8:9] == b"{":  # after the length of its header
        load_index(path, verify=True)
    else:
        if begin.startswith(b"\x89HDF"):
            try:
                check_apart(path)
            except ValueError as error:
                raise ValueError(f"{path} is damaged ({error}).") from None
        with Collection(path) as rocks:
            return rocks.verify()
    return []
