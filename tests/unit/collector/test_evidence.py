"""Sets of keys on disk against the same sets in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.collector.evidence import Amount, Evidence

KEYS = st.sets(st.sampled_from("abcdefgh"))
NOTES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("st"), st.booleans(), st.booleans()))


@given(KEYS, KEYS, KEYS, NOTES, NOTES)
def test_sets_follow_from_the_evidence(
    ours: set[str],
    foreign: set[str],
    references: set[str],
    intents: list[tuple[str, str, bool, bool]],
    entries: list[tuple[str, str, bool, bool]],
) -> None:
    evidence = Evidence()
    foreign -= ours
    evidence.add_objects((key, 1, key in ours, None) for key in ours | foreign)
    evidence.add_references((key, "s.t.a") for key in references)
    evidence.add_intents((key, home, number, 1, due) for number, (key, home, due, _) in enumerate(intents))
    evidence.add_entries(
        (key, home, number, 1, expired, expired and due, key, False, home == "s")
        for number, (key, home, expired, due) in enumerate(entries)
    )

    def keys(name: str) -> set[str]:
        assert evidence.amount(name).count == len(list(evidence.items(name)))
        return {item.key for item in evidence.items(name)}

    given_up, live = ({key for key, _, due, _ in intents if due is wanted} for wanted in (True, False))
    noted, own = {key for key, *_ in entries}, {key for key, home, *_ in entries if home == "s"}
    kept = {key for key, _, expired, _ in entries if not expired}
    not_due = {key for key, _, expired, due in entries if not (expired and due)}
    free = noted - references - live
    assert keys("reclaim") == given_up - references - live - not_due - keys("purge")  # each object once
    assert keys("purge") == (free & own) - not_due
    assert keys("expire") == (free & own & not_due) - kept
    assert keys("wait") == free & kept
    assert keys("unknown") == ours - references - given_up - live - own - kept
    assert keys("missing") == references - ours - foreign
    assert (evidence.amount("listed").count, evidence.amount("foreign").count) == (len(ours), len(foreign))
    evidence.close()


def test_object_that_stands_in_two_books_may_go_when_both_say_so() -> None:
    evidence = Evidence()
    evidence.add_entries(
        [("a", "s", 1, 5, True, True, "t.a.c", False, True), ("a", "t", 1, 5, False, False, "t.a.c", False, True)]
    )
    assert evidence.amount("purge") == Amount(0, 0)
    assert evidence.amount("wait") == Amount(1, 5)
    evidence = Evidence()
    evidence.add_intents([("a", "s", 1, 5, True)])
    evidence.add_entries([("a", "t", 1, 5, True, False, "t.a.c", False, True)])
    assert (evidence.amount("reclaim"), evidence.amount("expire")) == (Amount(0, 0), Amount(1, 5))


def test_what_only_a_note_names_is_in_use_and_cannot_be_missing() -> None:
    evidence = Evidence()
    evidence.add_objects([("a", 5, True, None)])
    evidence.add_references([("a", ""), ("b", ""), ("c", ""), ("c", "s.t.raw"), ("d", "s.t.raw"), ("d", "")])
    assert evidence.amount("unknown") == Amount(0)
    assert [(item.key, item.home) for item in evidence.items("missing")] == [("c", "s.t.raw"), ("d", "s.t.raw")]


def test_what_is_read_twice_counts_once() -> None:
    evidence = Evidence()
    for _ in range(2):
        evidence.add_objects([("a", 5, True, None)])
        evidence.add_references([("b", "s.t.a")])
        evidence.add_intents([("d", "s", 1, 7, True)])
        evidence.add_entries([("e", "s", 1, 8, True, True, "t.a.c", False, True)])
    assert [evidence.amount(name) for name in ("listed", "referenced", "reclaim", "purge")] == [
        Amount(1, 5),
        Amount(1),
        Amount(1, 7),
        Amount(1, 8),
    ]


def test_notes_are_found_by_key_and_grouped_by_schema() -> None:
    evidence = Evidence()
    evidence.add_entries(
        [
            ("a", "s", 1, 5, True, True, "t.a.c", False, True),
            ("a", "t", 2, 5, True, False, "t.a.c", False, True),
            ("b", "s", 3, 5, True, True, "t.a.c", False, True),
        ]
    )
    assert evidence.numbers("entry", ["a", "b", "c"]) == {"s": {1: "a", 3: "b"}}
    assert evidence.numbers("entry", ["a"], "expired") == {"s": {1: "a"}, "t": {2: "a"}}


def test_last_objects_of_a_cell_are_kept_but_those_that_rows_have() -> None:
    evidence = Evidence()
    entries = [(key, "s", number, 1, True, True, "t.a.c", False, True) for number, key in enumerate("abcbc")]
    evidence.add_entries([*entries, ("z", "s", 9, 1, True, True, "t.a.c", True, True)])
    evidence.add_references([("c", "s.t.a")])
    evidence.close_references(1)
    assert {item.key for item in evidence.items("purge")} == {"a", "z"}  # z is condemned; c is not an earlier one
    assert {item.key for item in evidence.items("wait")} == {"b"}


def test_what_a_text_mentions_is_referenced_and_never_missing() -> None:
    evidence = Evidence()
    keys = [f"lab/s/objects/T-raw/{'a' * 16}-{letter * 26}/x" for letter in "bcd"]
    evidence.add_entries([(key, "s", 1, 1, True, True, "t.a.c", True, True) for key in keys[:2]])
    evidence.add_objects([(keys[2], 1, True, None)])
    evidence.add_mentions(["b" * 26, "d" * 26, "e" * 26])
    evidence.close_references(0)
    assert [item.key for item in evidence.items("purge")] == [keys[1]]
    assert (evidence.amount("unknown").count, evidence.amount("missing").count) == (0, 0)
    evidence.forget_notes()
    evidence.close_references(0)
    assert evidence.amount("referenced").count == 0
