"""Every SQL constant prepares against the migrated schema, and rows have the fields of the model."""

from dataclasses import fields
from types import ModuleType

import pytest

from reportsim.core.model import CallbackLog, Ledger, Request
from reportsim.reports import generate
from reportsim.store import callbacks, ledgers, requests
from reportsim.store.pool import Connection

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
ROWS = [
    (requests.SELECT_MANY, Request),
    (requests.CLAIM, Request),
    (callbacks.CLAIM, Request),
    (callbacks.SELECT_LOGS, CallbackLog),
    (ledgers.SELECT_LEDGERS, Ledger),
]


def statements(module: ModuleType) -> dict[str, str]:
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and value.lstrip().startswith(VERBS)
    }


STATEMENTS = {
    f"{module.__name__}.{name}": sql
    for module in (requests, callbacks, ledgers, generate)
    for name, sql in statements(module).items()
}


def test_the_constants_are_found() -> None:
    assert {"reportsim.store.requests.CLAIM", "reportsim.store.callbacks.RECORD"} < STATEMENTS.keys()
    assert len(STATEMENTS) > 20


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_prepares(connection: Connection, name: str) -> None:
    await connection.prepare(STATEMENTS[name])


@pytest.mark.parametrize(("sql", "kind"), ROWS)
async def test_rows_have_exactly_the_fields_of_the_model(connection: Connection, sql: str, kind: type) -> None:
    prepared = await connection.prepare(sql)
    assert [column.name for column in prepared.get_attributes()] == [item.name for item in fields(kind)]
