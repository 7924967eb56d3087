"""Samples from a file: the same result as the run's own, clear errors for what is malformed, never a traceback."""

import io
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportsim.__main__ import main
from reportsim.benchmark.conclusion import conclude_from_samples
from reportsim.benchmark.results.csv_reader import CsvError, read_samples
from reportsim.benchmark.results.export import samples_csv
from tests.benchmark.runs import Run, example, overload

HEADER = "mode,index,block,due_s,result_s,outcome"


def export(run: Run) -> str:
    return "".join(samples_csv(run.plan, list(run.samples.values())))


def close(first: Any, second: Any) -> bool:
    """Whether two JSON values are equal, numbers to a thousandth."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(close(first[name], second[name]) for name in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(close, first, second))
    if isinstance(first, float) or isinstance(second, float):
        return first is not None and second is not None and math.isclose(first, second, abs_tol=0.00101)
    return bool(first == second)


@pytest.mark.parametrize(
    "changes", [{}, {"rate": 7.0}, {"both": "sync"}, {"duration_s": 3.0}, {"client_timeout_s": None}]
)
def test_an_export_gives_the_result_of_its_run(changes: dict[str, Any]) -> None:
    run = overload(**changes)
    result = run.conclude()
    again = conclude_from_samples(read_samples(io.StringIO(export(run))))
    for name in (*run.samples, "comparison", "verdict"):
        assert close(again[name], result[name]), name
    assert again["trusted"] is None
    not_run = {check["id"] for check in again["checks"] if check["verdict"] == "not_run"}
    assert {"H3", "H4", "H6", "H8", "H9", "H12"} <= not_run


def test_rows_may_come_in_any_order_and_with_few_columns() -> None:
    source = Random(1)
    rows = [
        f"{mode},{index},{block},{index / 10},{index / 10 + 0.1 + late},ok"
        for mode, late in (("sync", 0.0), ("async", 0.02))
        for block in range(1, 6)
        for index in range(20)
    ]
    ordered = conclude_from_samples(read_samples([f"{line}\n" for line in (HEADER, *rows)]))
    source.shuffle(rows)
    shuffled = conclude_from_samples(read_samples([f"{line}\n" for line in (HEADER, *rows)]))
    assert shuffled == ordered
    assert shuffled["sync"]["time_to_result_ms"]["p50"]["value"] == pytest.approx(100)
    assert shuffled["comparison"]["difference_ms"]["mean"]["value"] == pytest.approx(20)
    assert shuffled["comparison"]["pairs"] == 100


def test_todays_columns_and_those_of_the_first_version_are_read() -> None:
    rows = [f"sync,{index},{1 + index // 5},0.0,0.5,ok\n" for index in range(20)]
    new = read_samples([f"{HEADER}\n", *rows])
    old = read_samples([f"{HEADER.replace('due_s', 'intended_s')}\n", *rows])
    assert new.samples["sync"].due == old.samples["sync"].due


def test_requests_are_paired_by_block_and_index_where_some_are_missing() -> None:
    rows = [
        *(f"sync,{index},1,0,1,ok" for index in (3, 5, 9)),
        *(f"async,{index},1,0,{1 + index},ok" for index in (5, 9, 11)),
    ]
    found = conclude_from_samples(read_samples(f"{line}\n" for line in (HEADER, *rows)))
    assert found["comparison"]["pairs"] == 2
    assert found["comparison"]["difference_ms"]["mean"]["value"] == pytest.approx(7_000)


def test_one_side_alone_has_no_comparison() -> None:
    found = conclude_from_samples(read_samples([f"{HEADER}\n", "async,0,1,0,1,ok\n"]))
    assert found["comparison"] is None
    assert "sync" not in found


def test_settings_of_the_plan_set_the_time_outs() -> None:
    plan = '# plan: {"client_timeout_s": 2, "duration_s": 8, "blocks": 4, "slo_s": 0.5}\n'
    rows = [
        f"sync,{n},{1 + n % 4},0.1,{'' if n % 5 == 0 else 1.1},{'client_timeout' if n % 5 == 0 else 'ok'}\n"
        for n in range(40)
    ]
    found = conclude_from_samples(read_samples([plan, f"{HEADER}\n", *rows]))
    assert found["sync"]["time_to_result_ms"]["p90"] == {
        "value": 2_000, "low": 1_000, "high": None, "n": 40, "censored": True,
    }  # fmt: skip
    assert found["sync"]["outcomes"]["ok_late"] == 32
    assert found["sync"]["goodput"] == 0
    assert found["sync"]["throughput"] == pytest.approx(4)


MALFORMED = [
    ("", "line 1: no header"),
    ("nonsense\n", "line 1: no column mode"),
    (f"{HEADER}\n", "line 1: no requests"),
    (f"{HEADER},due_s\n", "line 1: column due_s twice"),
    (f"{HEADER}\nsync,0,1,0,1\n", "line 2: 5 cells instead of 6"),
    (f"{HEADER}\nsync,0,1,0,1,fine\n", "line 2: outcome 'fine'"),
    (f"{HEADER}\nboth,0,1,0,1,ok\n", "line 2: mode 'both'"),
    (f"{HEADER}\nsync,0,1,x,1,ok\n", "line 2: due_s is not a number"),
    (f"{HEADER}\nsync,0,1,nan,1,ok\n", "line 2: due_s is not a number"),
    (f"{HEADER}\nsync,0,1,1e400,1,ok\n", "line 2: due_s is not a number"),
    (f"{HEADER}\nsync,0,1,,1,ok\n", "line 2: due_s is empty"),
    (f"{HEADER}\nsync,0,1,0,,ok\n", "line 2: result_s is empty"),
    (f"{HEADER}\nsync,0,1,2,1,ok\n", "line 2: times must ascend"),
    (f"{HEADER}\nsync,-1,1,0,1,ok\n", "line 2: index is not a whole number"),
    (f"{HEADER}\nsync,0,0,0,1,ok\n", "line 2: block must be from 1"),
    (f"{HEADER}\nsync,0,99999,0,1,ok\n", "line 2: block must be from 1"),
    (f"{HEADER}\nsync,0,1,0,1,ok\nsync,0,1,0,1,ok\n", "line 3: sync request 0 of block 1 twice"),
    (f"{HEADER}\nsync,0,1,0,1,ok\na,0,1,0,1,ok\n", "sides that do not go together"),
    (f"# plan: {{\n{HEADER}\nsync,0,1,0,1,ok\n", "line 1: the plan is not JSON"),
    (f"# plan: []\n{HEADER}\nsync,0,1,0,1,ok\n", "line 1: the plan is not a JSON object"),
    (f'# plan: {{"blocks": "x"}}\n{HEADER}\nsync,0,1,0,1,ok\n', "line 1: blocks of the plan"),
    (f'# plan: {{"blocks": 1}}\n{HEADER}\nsync,0,2,0,1,ok\n', "line 1: the plan has 1 blocks, the rows have 2"),
    (f'{HEADER}\n"sync,0,1,0,1,ok\n', "unexpected end of data"),
    (f"{HEADER}\nsync,0,1,0,1,ok\x00\n", "line 2: a NUL byte"),
]


@pytest.mark.parametrize(("text", "problem"), MALFORMED)
def test_what_is_malformed_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(CsvError) as caught:
        read_samples(io.StringIO(text))
    assert problem in str(caught.value)


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["sync", "1", "0.5", "", "ok", "a", "\n", ",", '"', HEADER, "\n"])).map("".join)
)
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        run = read_samples(io.StringIO(text))
    except CsvError:
        return
    json.dumps(conclude_from_samples(run), allow_nan=False)


@given(st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=60)
def test_a_damaged_export_is_read_or_refused(random: Any, damages: int) -> None:
    text = export(overload(duration_s=2.0))
    for _ in range(damages):
        at = random.randrange(len(text))
        text = (
            text[:at] + random.choice(["", ",", "\n", "9", "-", '"', "e", "\ufeff"]) + text[at + random.randrange(3) :]
        )
    try:
        json.dumps(conclude_from_samples(read_samples(io.StringIO(text))), allow_nan=False)
    except CsvError as error:
        assert str(error).startswith("line ")


@pytest.mark.parametrize(
    ("known", "damaged"),
    [
        ('"mean_ms"', '"ean_ms"'),
        ('"mean_ms"', '""'),
        ('"exponential"', '"exponentia"'),
        ('"distribution"', '"istribution"'),
        ('"mean_ms": ', '"mean_ms": 1e999, "x": '),
        ('"mean_ms": ', '"mean_ms": "9", "x": '),
        ('"mean_ms": ', '"mean_ms": [], "x": '),
        ('"mean_ms": ', '"mean_ms": 0, "x": '),
        ('"workers": ', '"workers": 0, "x": '),
        ('"service_time": ', '"service_time": 9, "x": '),
        ('"rate": ', '"rate": {}, "x": '),
    ],
)
def test_so_is_one_whose_plan_is_damaged(known: str, damaged: str) -> None:
    head, line_end, rows = export(overload(duration_s=2.0)).partition("\n")
    separated = json.dumps(json.loads(head.removeprefix("# plan:")))
    assert known in separated
    text = f"# plan: {separated.replace(known, damaged, 1)}{line_end}{rows}"
    try:
        json.dumps(conclude_from_samples(read_samples(io.StringIO(text))), allow_nan=False)
    except CsvError as error:
        assert str(error).startswith("line ")


def test_the_command_prints_one_object_per_file_and_ends_with_2_for_a_malformed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, result = example()
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(export(run), encoding="utf-8")
    bad.write_bytes(b"\xff\xfe")
    assert main(["benchmark", "--analyse", str(good), str(good), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == [result["verdict"]] * 2
    assert main(["benchmark", "--analyse", str(bad), str(tmp_path / "none.csv"), str(good)]) == 2
    output = capsys.readouterr()
    assert "bad.csv: line 1: the file is not UTF-8" in output.err
    assert "none.csv: No such file" in output.err
    assert "block pairs" in output.out.replace("\n", " ")
