"""Problem details: one catalog, stable documents, pointers that lead to the value."""

import json
import re
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportsim.core.problems import KINDS, Problem, flatten, invalid, plain, pointer, unavailable


@pytest.mark.parametrize("slug", KINDS)
def test_every_kind_is_fit_for_its_page(slug: str) -> None:
    kind = KINDS[slug]
    assert slug == kind.slug
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)
    assert 400 <= HTTPStatus(kind.status) < 600
    assert kind.title
    assert not kind.title.endswith(".")
    assert kind.about.endswith(".")
    assert kind.type == f"/problems/{slug}" or kind.type.startswith("https://iana.org/assignments/http-problem-types#")


def test_titles_tell_kinds_apart() -> None:
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("slug", KINDS)
def test_a_problem_is_a_document_of_rfc_9457(slug: str) -> None:
    problem = Problem(slug, "What happened here.", {"instance": "/api/requests/x"})
    document = problem.as_json()
    assert document == {
        "type": KINDS[slug].type,
        "title": KINDS[slug].title,
        "status": KINDS[slug].status,
        "detail": "What happened here.",
        "instance": "/api/requests/x",
    }
    assert problem.status == KINDS[slug].status
    assert json.loads(json.dumps(document)) == document


def test_a_problem_reads_well_in_a_log() -> None:
    assert str(Problem("not-found", "There is no such request.")) == "not-found: There is no such request."


def test_a_status_of_its_own_goes_before_that_of_the_kind() -> None:
    assert Problem("report-failed", "x", status=503).as_json()["status"] == 503


def test_an_unknown_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Problem("no-such-kind", "x")


def test_a_status_without_a_kind_is_about_blank() -> None:
    assert plain(411) == {"type": "about:blank", "title": "Length Required", "status": 411}


def test_one_invalid_value_is_told_in_the_detail_and_many_are_counted() -> None:
    one = {"detail": "Not a number.", "pointer": "#/a"}
    assert invalid([one]).detail == "Not a number."
    assert invalid([one, one]).detail == "2 values are not valid."
    assert invalid([one]).as_json()["errors"] == [one]
    assert invalid([one]).status == 422


def test_what_is_unavailable_says_when_to_come_back() -> None:
    problem = unavailable("The database is away.", 3)
    assert (problem.status, problem.headers) == (503, {"Retry-After": "3"})


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ((), "#"),
        (("a",), "#/a"),
        (("a", 0, "b"), "#/a/0/b"),
        (("a/b", "c~d"), "#/a~1b/c~0d"),
        (("~1",), "#/~01"),
        (("",), "#/"),
    ],
)
def test_a_pointer_escapes_what_rfc_6901_says(steps: tuple[str | int, ...], text: str) -> None:
    assert pointer(*steps) == text


@given(st.lists(st.text(max_size=5), max_size=5))
def test_a_pointer_leads_back_to_its_steps(steps: list[str]) -> None:
    found = [step.replace("~1", "/").replace("~0", "~") for step in pointer(*steps).split("/")[1:]]
    assert found == steps


def test_nested_messages_become_a_flat_list() -> None:
    messages: dict[str, Any] = {
        "a": ["First.", "Second."],
        "b": {"c": ["Third."], "_schema": ["Fourth."]},
        "d": {0: ["Fifth."], 2: {"e/f": ["Sixth."]}},
        "_schema": ["Seventh."],
    }
    assert [(error["pointer"], error["detail"]) for error in flatten(messages)] == [
        ("#/a", "First."),
        ("#/a", "Second."),
        ("#/b/c", "Third."),
        ("#/b", "Fourth."),
        ("#/d/0", "Fifth."),
        ("#/d/2/e~1f", "Sixth."),
        ("#", "Seventh."),
    ]
