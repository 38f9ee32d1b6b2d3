import pytest

from gateway.identity.kinds import KindRegistry, safe_kind


@pytest.mark.parametrize(("sent", "kind"), [("map-reduce", "map-reduce"), ("RAG_2", "rag_2"), ("k" * 64, "k" * 64)])
def test_a_safe_kind_is_lower_cased(sent: str, kind: str) -> None:
    assert safe_kind(sent) == kind


@pytest.mark.parametrize(
    "sent",
    ["", "a b", "a.b", "a/b", "a\n", 'a"', "k" * 65, "K" * 5_000_000, "é", "\u212aind", "İ", "ſ", "x" * 64 + "\u212a"],
)
def test_any_other_kind_is_other(sent: str) -> None:
    assert safe_kind(sent) == "other"


def test_the_first_kinds_keep_their_names() -> None:
    registry = KindRegistry(max_kinds=2)
    assert [registry.label(kind) for kind in ("a", "b", "c", "a", "b", "default", "other", "c")] == [
        *("a", "b", "other", "a", "b", "default", "other", "other")
    ]


def test_sixty_four_kinds_have_room() -> None:
    registry = KindRegistry()
    labels = [registry.label(f"kind-{i}") for i in range(1000)]
    assert labels[:64] == [f"kind-{i}" for i in range(64)]
    assert set(labels[64:]) == {"other"}


def test_default_and_other_take_no_place() -> None:
    registry = KindRegistry(max_kinds=1)
    assert [registry.label(kind) for kind in ("default", "other", "a")] == ["default", "other", "a"]


def test_known_kinds_cannot_be_crowded_out() -> None:
    registry = KindRegistry(known=["Coder", "rag"], max_kinds=3)
    assert [registry.label(kind) for kind in ("x", "y", "z", "coder", "rag")] == ["x", "other", "other", "coder", "rag"]


def test_an_unsafe_kind_takes_no_place() -> None:
    registry = KindRegistry(max_kinds=1)
    assert [registry.label(kind) for kind in ("A", "a b", 'a"}', "a")] == ["other", "other", "other", "a"]
