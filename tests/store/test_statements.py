"""Every SQL constant prepares against the migrated schema, unless it is a template; rows have the model's fields."""

import importlib
import pkgutil
from dataclasses import fields

import pytest

from reportsim import store
from reportsim.core.model import CallbackLog, Ledger, Request
from reportsim.store import benchmarks, ledgers
from reportsim.store.callbacks import attempts, claims
from reportsim.store.pool import Connection
from reportsim.store.requests import claims as request_claims
from reportsim.store.requests import queries

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
ROWS: list[tuple[str, type]] = [
    (queries.SELECT_MANY, Request),
    (request_claims.CLAIM, Request),
    (claims.CLAIM, Request),
    (attempts.SELECT_LOGS, CallbackLog),
    (ledgers.SELECT_LEDGERS, Ledger),
    (benchmarks.SELECT_ONE, benchmarks.Benchmark),
    (benchmarks.SELECT_NEWEST, benchmarks.Summary),
]


def statements(name: str) -> dict[str, str]:
    """The complete statements among a module's constants; templates are not."""
    constants = vars(importlib.import_module(name)).items()
    return {
        f"{name.removeprefix('reportsim.store.')}.{constant}": value
        for constant, value in constants
        if constant.isupper() and isinstance(value, str) and value.lstrip().startswith(VERBS) and "{" not in value
    }


STATEMENTS = {
    name: sql
    for module in pkgutil.walk_packages(store.__path__, "reportsim.store.")
    for name, sql in statements(module.name).items()
}


def test_the_constants_are_found() -> None:
    assert {"requests.claims.CLAIM", "callbacks.attempts.RECORD", "ledger_generator.lines.INSERT"} < STATEMENTS.keys()
    assert len(STATEMENTS) > 20


async def test_every_statement_prepares(connection: Connection, subtests: pytest.Subtests) -> None:
    for name, sql in STATEMENTS.items():
        with subtests.test(name):
            await connection.prepare(sql)


async def test_rows_have_exactly_the_fields_of_the_model(connection: Connection, subtests: pytest.Subtests) -> None:
    for sql, kind in ROWS:
        with subtests.test(kind.__name__):
            prepared = await connection.prepare(sql)
            assert [column.name for column in prepared.get_attributes()] == [item.name for item in fields(kind)]
