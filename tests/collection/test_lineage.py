"""Turned copies know their original."""

from geoimages.collection.lineage import lineage_of


def test_turned_copies_share_their_original():
    keys = ["marble.A", "marble.A.90", "marble.A.270", "marble.B"]
    assert lineage_of(keys).tolist() == ["marble.A"] * 3 + ["marble.B"]


def test_turns_of_an_absent_original_belong_together():
    assert lineage_of(["a.B.90", "a.B.180"]).tolist() == ["a.B", "a.B"]


def test_a_number_alone_makes_no_copy():
    keys = ["core.90", "core.180", "a.B.90", 90, "a.B.45"]
    assert lineage_of(keys).tolist() == keys
