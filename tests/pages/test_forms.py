"""What people type into forms, as the API takes it: whatever it is, the schema decides, and nothing fails before."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from reportsim.pages.benchmark_form import plan_body
from reportsim.pages.forms import parse_number, submission_body
from reportsim.pages.race import controls as race_controls
from reportsim.pages.race.controls import RaceForm, read_controls
from reportsim.pages.race.prediction import predict_race
from reportsim.pages.service_time_form import DISTRIBUTIONS, service_time
from reportsim.schemas.benchmark_plan import BenchmarkPlan
from reportsim.schemas.submission_parser import parse_body

NUMERALS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.integers(300, 5_000).map(lambda digits: "9" * digits),
    st.integers(300, 5_000).map(lambda digits: "-" + "9" * digits),
    st.text(max_size=8),
)


@pytest.mark.parametrize("text", ["9" * 309, "-" + "9" * 400, "9" * 4_300, "9" * 5_000, "1e400", "nan", "-inf"])
def test_a_number_that_is_beyond_a_double_stays_the_text_that_it_is(text: str) -> None:
    assert parse_number(text) == text


@given(NUMERALS)
def test_a_number_is_finite(text: str) -> None:
    value = parse_number(text)
    assert value == text if isinstance(value, str) else math.isfinite(value)


@given(st.sampled_from(DISTRIBUTIONS), NUMERALS, NUMERALS, NUMERALS)
def test_a_plan_of_any_figures_is_taken_or_refused(shape: str, mean: str, sigma: str, share: str) -> None:
    body = plan_body({"distribution": shape, "mean_ms": mean, "sigma": sigma, "slow_share": share, "rate": mean})
    parsed = parse_body(BenchmarkPlan, body)
    assert parsed.errors or parsed.data["service_time"]["distribution"] == shape


@pytest.mark.parametrize(("sigma", "share"), [(-40, -0.25), (1e200, -0.2), (-1e200, 1e308), (11, 1.5)])
@pytest.mark.parametrize("shape", ["lognormal", "bimodal"])
def test_figures_out_of_bounds_are_passed_on_to_be_refused(shape: str, sigma: float, share: float) -> None:
    built = service_time(shape, mean_ms=100, sigma=sigma, slow_share=share)
    assert parse_body(BenchmarkPlan, {"service_time": built}).errors


@given(st.dictionaries(st.sampled_from([*RaceForm().fields, "x"]), NUMERALS))
def test_controls_of_any_texts_are_taken_or_refused(texts: dict[str, str]) -> None:
    try:
        controls = read_controls(texts)
    except ValidationError:
        return
    assert predict_race(controls, (2.0,)).sides


def test_a_race_is_predicted_where_no_waits_are_set() -> None:
    sides = predict_race(read_controls({"callback_failures": "2"}), ()).sides
    assert all(len(request.attempts) == 3 for request in sides[1].requests)


@given(
    st.dictionaries(st.sampled_from(["report_type", "ledger", "from", "service_time_ms", "account_codes"]), NUMERALS)
)
def test_a_submission_of_any_texts_has_a_body(form: dict[str, str]) -> None:
    assert isinstance(submission_body(form), dict)


def test_one_schema_serves_all_names_of_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(RaceForm):
        def __init__(self) -> None:
            made.append(self)
            super().__init__()

    monkeypatch.setattr(race_controls, "RaceForm", Counted)
    read_controls({f"x{number}": "1" for number in range(2_000)})
    assert len(made) == 1
