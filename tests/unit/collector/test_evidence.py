"""Sets of keys on disk against the same sets in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.collector.evidence import Amount, Evidence, ObjectRecord

KEYS = st.sets(st.sampled_from("abcdefgh"))


@given(KEYS, KEYS, KEYS, KEYS, KEYS, KEYS)
def test_sets_follow_from_the_evidence(
    ours: set[str], foreign: set[str], references: set[str], intents: set[str], aside: set[str], due: set[str]
) -> None:
    evidence = Evidence()
    foreign -= ours
    evidence.add_objects((key, 1, key in ours) for key in ours | foreign)
    evidence.add_references((key, "s.t.a") for key in references)
    evidence.add_intents(intents)
    evidence.add_quarantined((ObjectRecord(key, 1, "s"), key in due) for key in aside)

    def keys(name: str) -> set[str]:
        assert evidence.amount(name).count == len(list(evidence.items(name)))
        return {item.key for item in evidence.items(name)}

    unused = ours - references - intents
    assert keys("quarantine") == unused - aside
    assert keys("purge") == unused & aside & due
    assert keys("waiting") == (unused & aside) - due
    assert keys("release") == aside & (references | intents)
    assert keys("gone") == aside - ours - foreign - references - intents
    assert keys("missing") == references - ours - foreign
    assert (evidence.amount("listed").count, evidence.amount("foreign").count) == (len(ours), len(foreign))
    evidence.close()


def test_object_that_stands_in_two_books_is_due_when_both_say_so() -> None:
    evidence = Evidence()
    evidence.add_objects([("a", 5, True)])
    evidence.add_quarantined([(ObjectRecord("a", 5, "s"), True), (ObjectRecord("a", 5, "t"), False)])
    assert evidence.amount("purge") == Amount(0, 0)
    assert evidence.amount("waiting") == Amount(1, 5)


def test_what_is_read_twice_counts_once() -> None:
    evidence = Evidence()
    for _ in range(2):
        evidence.add_objects([("a", 5, True)])
        evidence.add_references([("b", "s.t.a")])
        evidence.add_intents(["c"])
        evidence.add_abandoned([ObjectRecord("d", 7, "s")])
    assert [evidence.amount(name) for name in ("listed", "referenced", "abandoned")] == [
        Amount(1, 5),
        Amount(1),
        Amount(1, 7),
    ]
