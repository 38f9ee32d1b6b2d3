"""Kinds for those who name none."""

import random

import pytest

from gateway.identity import DEFAULT_KIND, ShapeRegistry, prompt_shape, safe_kind

SYSTEM = "You are an airline agent. Today is 2024-05-15. Follow the policy below."


def test_a_shape_is_the_programs_and_not_the_runs() -> None:
    assert prompt_shape(SYSTEM, ["book", "cancel"]) == prompt_shape(SYSTEM.replace("2024", "2031"), ["cancel", "book"])
    assert prompt_shape(SYSTEM + "x" * 1000, []) == prompt_shape(SYSTEM + "x" * 1000 + "another end", [])
    assert prompt_shape(f"  {SYSTEM}\n", []) == prompt_shape(SYSTEM, [])


@pytest.mark.parametrize("other", [("You are a librarian.", ["book"]), (SYSTEM, ["book", "cancel"]), (SYSTEM, [])])
def test_other_instructions_or_tools_are_another_shape(other: tuple[str, list[str]]) -> None:
    assert prompt_shape(SYSTEM, ["book"]) != prompt_shape(*other)


def test_nothing_has_no_shape_and_anything_else_has_one() -> None:
    assert prompt_shape("", []) is None
    for system in ("\ud800", "\x00", "é" * 10**6):
        assert len(prompt_shape(system, ["t" * 10**6] * 1000) or "") == 8


def test_a_shape_becomes_a_kind_when_several_applications_had_it() -> None:
    registry = ShapeRegistry(min_applications=3)
    assert [registry.kind_of("aa", f"application {n}") for n in range(4)] == [
        DEFAULT_KIND,
        DEFAULT_KIND,
        "shape-aa",
        "shape-aa",
    ]
    assert safe_kind("shape-aa") == "shape-aa"
    assert registry.kind_of(None, "application") == DEFAULT_KIND


def test_many_calls_of_one_application_are_one_application() -> None:
    registry = ShapeRegistry(min_applications=2)
    assert {registry.kind_of("aa", "the same") for _ in range(10)} == {DEFAULT_KIND}


def test_prompts_that_are_never_the_same_make_no_kinds_and_take_no_memory() -> None:
    registry = ShapeRegistry(max_candidates=10)
    draw = random.Random(1)
    kinds = {registry.kind_of(f"{draw.getrandbits(64):x}", f"application {n}") for n in range(1000)}
    assert kinds == {DEFAULT_KIND}
    assert len(registry._candidates) == 10


def test_there_are_at_most_so_many() -> None:
    registry = ShapeRegistry(max_kinds=2, min_applications=1)
    assert [registry.kind_of(shape, shape) for shape in ("a", "b", "c", "a")] == [
        "shape-a",
        "shape-b",
        DEFAULT_KIND,
        "shape-a",
    ]
