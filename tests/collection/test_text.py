"""Text that leaves is harmless, and what was read back is what it was."""

import io

import numpy as np
import pandas as pd
import pytest

from geoimages.collection.text import cell, original, originals, printable, to_csv

HOSTILE = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r\n=1",
    "'=1",
    "''@",
    "a\rb",
    "a\nb",
    "\x1b]0;owned\x07",
    "\x9b2J",
    "\u202egnp.exe",
    "\udc80",
    "\\u001b",
    "\\\\u005c",
    "C:\\u0041",
    "-12.5",
    "",
    "Grünstein β 岩",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_harmless_and_comes_back(text):
    made = cell(text)
    assert original(made) == text
    assert made.isprintable()
    assert made[:1] not in set("=+@\t\r")
    assert not made.startswith("-") or float(made)


def test_any_text_comes_back():
    rng = np.random.default_rng(0)
    letters = np.array([*"=+-@'\\u005c1b\r\n\x1b\u202e\x85aä"])
    for _ in range(2000):
        text = "".join(rng.choice(letters, rng.integers(0, 9)))
        assert original(cell(text)) == text


def test_numbers_stay_numbers():
    assert [cell(value) for value in (-3, 2.5, None, True, "-3", "1e-5")] == [
        *(-3, 2.5, None, True),
        *("-3", "1e-5"),
    ]


def test_only_what_steers_is_escaped():
    assert printable("Grünstein β 岩 – 90°\n") == "Grünstein β 岩 – 90°\n"
    assert printable("a\x1b[2Jb\x00\x9b") == "a\\u001b[2Jb\\u0000\\u009b"


def test_a_table_with_hostile_text_everywhere_is_one_line_a_row():
    # As objects: where pyarrow is installed, pandas takes no halves of surrogates else.
    texts = pd.Series(HOSTILE, dtype=object)
    kinds = pd.Categorical(texts, categories=pd.Index(HOSTILE, dtype=object))
    table = pd.DataFrame({"=name": texts, "n": range(len(texts)), "kind": kinds})
    table.index = pd.Index(HOSTILE, name="key", dtype=object)
    text = to_csv(table)
    assert len(text.splitlines()) == len(HOSTILE) + 1
    read = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert read.columns.tolist() == ["key", "'=name", "n", "kind"]
    for name in ("key", "'=name", "kind"):
        assert originals(read[name]).tolist() == HOSTILE
    assert read["n"].astype(int).tolist() == list(range(len(HOSTILE)))
    assert table.index.tolist() == HOSTILE
