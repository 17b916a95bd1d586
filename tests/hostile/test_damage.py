"""Damaged files, in short: `make fuzz` opens 2,000 of each kind."""

import os

import damage
import pytest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return damage.make(folder)


@pytest.mark.skipif(os.name == "nt", reason="limits are those of POSIX")
@pytest.mark.parametrize("kind", damage.SUFFIXES)
def test_damage_gives_the_same_answer_or_our_error(whole, tmp_path, kind):
    counts, faults, _ = damage.run(kind, whole[kind], tmp_path, n_files=20, seed=0)
    assert faults == []
    assert counts["our error"] + counts["the same answer"] == 20
    assert kind == "cache" or counts["our error"] > 5
