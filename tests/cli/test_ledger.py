"""`python -m reportsim ledger …` as people run it, beside a running service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reportsim.cli.ledger.import_file import NO_INVESTING
from reportsim.settings import Settings
from reportsim.store.ledger_import.formats import ACCOUNTS_HEADER
from reportsim.store.pool import Connection
from tests.cli.calls import Argument, Done, call_beside, start
from tests.conftest import DEMO_LINES, Service
from tests.store.ledger_import.hostile_files import L1, L2, hledger, own

BOOKS = own(L1, L2)
MORE = own(*(line.replace(",1,", ",2,", 1).replace("01-01", "06-30") for line in (L1, L2)))


async def ledger(dsn: str, *arguments: Argument) -> tuple[int, str, str]:
    """The exit code and what was printed, on standard output and on standard error."""
    return told(await call_beside("ledger", *arguments, environ={"DATABASE_URL": dsn, "COLUMNS": "200"}))


async def started(dsn: str, *arguments: Argument) -> tuple[int, str, str]:
    """The same from an interpreter of its own."""
    return told(await asyncio.to_thread(start, "ledger", *arguments, environ={"DATABASE_URL": dsn, "COLUMNS": "200"}))


def told(done: Done) -> tuple[int, str, str]:
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def books(tmp_path: Path) -> Path:
    path = tmp_path / "books.csv"
    path.write_text(BOOKS)
    return path


async def report(service: Service, **options: Any) -> Any:
    """A trial balance of the books that was just made."""
    body = {"ledger": "books", **options}
    async with service.client.post("/api/sync", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def csv_of(service: Service, made: Any) -> tuple[int, str]:
    async with service.client.get(made["links"]["report"]) as answer:
        return answer.status, await answer.text()


async def test_beside_a_service_versions_stand_for_themselves(
    service: Service, settings: Settings, dsn: str, books: Path, tmp_path: Path
) -> None:
    done = await started(dsn, "import", books, "--ledger", "books")
    assert done == (0, "books: 2 lines in EUR, version 1\n", f"{NO_INVESTING}\n")
    window = {"from": "2024-01-01", "to": "2025-01-01"}
    first = await report(service, **window)
    before = await csv_of(service, first)
    assert before == (200, (await csv_of(service, first))[1])
    assert "\na,A,asset,0.00,0.00,5.00,0.00,5.00,0.00\n" in before[1]

    more = tmp_path / "more.csv"
    more.write_text(MORE)
    done = await started(dsn, "import", more, "--ledger", "books", "--append")
    assert done == (0, "books: 4 lines in EUR, version 2\n", "")
    second = await report(service, **window)
    assert "\na,A,asset,0.00,0.00,10.00,0.00,10.00,0.00\n" in (await csv_of(service, second))[1]
    async with service.client.get("/api/ledgers") as answer:
        listed = {item.pop("name"): item for item in (await answer.json())["items"]}
    assert listed["books"] == {"currency": "EUR", "exponent": 2, "from": "2024-01-01", "to": "2024-07-01", "lines": 4}

    # The files are gone, and made again from the version that each request saw.
    for path in settings.reports_dir.glob("*.csv"):
        path.unlink()
    assert await csv_of(service, first) == before
    assert (await csv_of(service, second))[0] == 200

    assert await started(dsn, "delete", "books") == (0, "books: deleted\n", "")
    for path in settings.reports_dir.glob("*.csv"):
        path.unlink()
    assert (await csv_of(service, first))[0] == 410


async def test_an_import_with_an_investing_account_has_no_note(dsn: str, books: Path, tmp_path: Path) -> None:
    chart = tmp_path / "accounts.csv"
    chart.write_text(f"{ACCOUNTS_HEADER}\na,A,asset,0,investing\nb,B,equity,0,financing\n")
    done = await ledger(dsn, "import", books, "--ledger", "books", "--accounts", chart)
    assert done == (0, "books: 2 lines in EUR, version 1\n", "")


GO_AWAY = """
CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE {} FOR EACH ROW EXECUTE FUNCTION go_away();
"""
AT_COMMIT = "CONSTRAINT TRIGGER go_away AFTER INSERT OR DELETE ON ledgers DEFERRABLE INITIALLY DEFERRED"
ON_THE_WAY = "TRIGGER go_away AFTER INSERT OR DELETE ON {}"


@contextlib.asynccontextmanager
async def going_away(connection: Connection, trigger: str) -> AsyncIterator[None]:
    """A database that ends a connection when a trigger is fired."""
    await connection.execute(GO_AWAY.format(trigger))
    try:
        yield
    finally:
        await connection.execute("DROP FUNCTION go_away CASCADE")


def arguments_of(command: str, books: Path) -> tuple[Argument, ...]:
    match command:
        case "import":
            return "import", books, "--ledger", "books"
        case "generate":
            return "generate", "--ledger", "books", "--lines=4"
        case _:
            return "delete", "books"


@pytest.mark.parametrize("command", ["import", "generate", "delete"])
async def test_a_commit_whose_answer_is_lost_is_not_said_to_have_changed_nothing(
    dsn: str, connection: Connection, books: Path, command: str
) -> None:
    if command == "delete":
        assert (await ledger(dsn, "import", books, "--ledger", "books"))[0] == 0
    async with going_away(connection, AT_COMMIT):
        code, out, err = await ledger(dsn, *arguments_of(command, books))
    assert (code, out) == (1, "")
    assert "lost during COMMIT" in err
    assert "see `reportsim ledger list`" in err
    assert "nothing was" not in err


@pytest.mark.parametrize("table", ["ledgers", "postings", "balances"])
@pytest.mark.parametrize("command", ["import", "generate", "delete"])
async def test_a_connection_that_is_lost_on_the_way_has_changed_nothing_and_that_is_said(
    dsn: str, connection: Connection, books: Path, command: str, table: str
) -> None:
    if command == "delete":
        assert (await ledger(dsn, "import", books, "--ledger", "books"))[0] == 0
    before = await connection.fetch("SELECT name FROM ledgers")
    async with going_away(connection, ON_THE_WAY.format(table)):
        code, out, err = await ledger(dsn, *arguments_of(command, books))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("reportsim: nothing was changed: ")
    assert await connection.fetch("SELECT name FROM ledgers") == before


async def test_an_import_takes_its_time_to_read_a_file(dsn: str, tmp_path: Path) -> None:
    """What is read before anything is written is not read within a transaction, which a server may end."""
    path = tmp_path / "books.csv"
    path.write_text(own(*[line.replace(",1,", f",{number},", 1) for number in range(1, 60_000) for line in (L1, L2)]))
    impatient = f"{dsn}{'&' if '?' in dsn else '?'}options=-cidle_in_transaction_session_timeout%3D50"
    code, out, err = await ledger(impatient, "import", path, "--ledger", "books", "--currency", "BTC")
    assert (code, out) == (0, "books: 119,998 lines in BTC, version 1\n"), err


async def test_faults_are_said_line_by_line(dsn: str, books: Path) -> None:
    books.write_text(own(L1, *[L2.replace(",5,", ",x,").replace(",1,2,", f",1,{line},") for line in range(2, 30)]))
    code, out, err = await ledger(dsn, "import", books, "--ledger", "books")
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == f'{books}:3: credit: "x" is not an amount like 1234.50'
    assert len(lines) == 21
    assert lines[-1] == "reportsim: nothing was imported; the first 20 faults are shown"
    assert "books" not in (await ledger(dsn, "list"))[1]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("import", "books.csv", "--ledger", "demo"), "there is a ledger demo already; --append adds to it"),
        (("import", "books.csv", "--ledger", "new", "--append"), "there is no ledger new to append to"),
        (("import", "books.csv", "--ledger", "demo", "--append", "--currency", "USD"), "is in EUR, not in USD"),
        (("import", "none.csv", "--ledger", "new"), "none.csv: cannot be read: No such file or directory"),
        (("import", ".", "--ledger", "new"), "not a regular file"),
        (("import", "books.csv", "--ledger", "new", "--accounts", "books.csv"), "books.csv:1: the header is not that"),
        (("generate", "--ledger", "demo", "--lines", "10"), "there is a ledger demo already"),
        (("generate", "--ledger", "new", "--from", "9999-12-01"), "the calendar ends before"),
        (("delete", "new"), "there is no ledger new"),
        (("import", "books.csv", "--ledger", "demo", "--append", "--decimals", "3"), "has 2 decimals, not 3"),
    ],
)
async def test_what_cannot_be_done_exits_with_1(
    dsn: str, books: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], what: str
) -> None:
    monkeypatch.chdir(books.parent)
    code, out, err = await ledger(dsn, *arguments)
    assert (code, out) == (1, "")
    assert what in err
    assert "Traceback" not in err
    assert (await ledger(dsn, "list"))[1].split()[7:] == [
        *("demo", "EUR", "2025-01-01", "2025-12-31", f"{DEMO_LINES:,}"),
        *("tiny", "EUR", "2025-01-01", "2025-12-31", "40"),
    ]


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines"])
async def test_names_that_no_request_could_ask_for(dsn: str, books: Path, name: str) -> None:
    assert (await ledger(dsn, "import", books, "--ledger", name))[0] == 2
    assert (await ledger(dsn, "generate", "--ledger", name))[0] == 2


@pytest.mark.parametrize("decimals", ["-1", "19", "2.5", "x", "", "٣"])
async def test_numbers_of_decimals_that_no_ledger_has(dsn: str, books: Path, decimals: str) -> None:
    code, _, err = await ledger(dsn, "import", books, "--ledger", "books", f"--decimals={decimals}")
    assert code == 2
    assert "must be from 0 to 18" in err


@pytest.mark.parametrize(("decimals", "amount"), [("18", "0.000000000000000001"), ("8", "92233720368.54775807")])
async def test_reports_have_the_decimals_of_the_ledger(
    service: Service, dsn: str, books: Path, decimals: str, amount: str
) -> None:
    books.write_text(BOOKS.replace(",5,", f",{amount},"))
    done = await ledger(dsn, "import", books, "--ledger", "books", "--decimals", decimals)
    assert done == (0, "books: 2 lines in EUR, version 1\n", f"{NO_INVESTING}\n")
    made = await report(service)
    minor = int(amount.replace(".", ""))
    assert made["result_payload"]["exponent"] == int(decimals)
    assert made["result_payload"]["totals"]["closing_debit"] == minor
    zero = "0." + "0" * int(decimals)
    cells = f"{zero},{zero},{amount},{zero},{amount},{zero}"
    assert f"\na,A,asset,{cells}\n" in (await csv_of(service, made))[1]
    async with service.client.get(f"/requests/{made['id']}") as answer:
        assert answer.status == 200
        assert f"{int(minor // 10 ** int(decimals)):,}.{amount.partition('.')[2]}" in await answer.text()


async def test_virtual_postings_are_left_out_on_request(dsn: str, books: Path) -> None:
    books.write_text(hledger(account="(budget)"))
    refused = await ledger(dsn, "import", books, "--ledger", "books")
    assert refused[0] == 1
    assert "--skip-virtual leaves them out" in refused[2]
    balanced = hledger(account="equity:x")
    line = balanced.splitlines()[-1].replace("equity:x", "(budget)")
    books.write_text(balanced + line + "\n")
    done = await ledger(dsn, "import", books, "--ledger", "books", "--skip-virtual")
    assert done == (0, "books: 2 lines in EUR, version 1\n", f"{NO_INVESTING}\n")


async def test_the_database_is_away(books: Path) -> None:
    code, _, err = await ledger("postgresql://nobody@127.0.0.1:1/none", "import", books, "--ledger", "books")
    assert code == 1
    assert err.startswith("reportsim: the database cannot be reached")


async def test_generates_what_was_asked_for(dsn: str) -> None:
    assert await ledger(dsn, "generate", "--ledger", "made", "--lines", "44") == (0, "made: 44 lines\n", "")
    assert "made  EUR       2025-01-01  2025-12-31  44" in (await ledger(dsn, "list"))[1]


async def test_verifies_all_ledgers_and_says_what_is_damaged(dsn: str, connection: Connection, books: Path) -> None:
    assert (await ledger(dsn, "import", books, "--ledger", "books"))[0] == 0
    whole = "books: 2 lines, 1 versions, nothing wrong\n"
    assert await ledger(dsn, "verify", "books") == (0, whole, "")
    code, out, err = await ledger(dsn, "verify")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("demo: ")
    assert out.endswith(whole)

    books_id = await connection.fetchval("SELECT ledger_id FROM ledgers WHERE name = 'books'")
    await connection.execute("UPDATE postings SET amount = 2 * amount WHERE ledger_id = $1", books_id)
    code, out, err = await ledger(dsn, "verify")
    assert code == 1
    assert "books" not in out
    assert "demo: " in out
    assert "books: the totals of account a on 2024-01-01 in version 1 are not those of its entries\n" in err
    assert err.endswith("reportsim: damaged: books\n")

    assert await ledger(dsn, "verify", "nowhere") == (1, "", "reportsim: there is no ledger nowhere\n")


async def test_an_import_with_other_totals_is_refused(
    dsn: str, connection: Connection, books: Path, tmp_path: Path
) -> None:
    assert (await ledger(dsn, "import", books, "--ledger", "books"))[0] == 0
    more = tmp_path / "more.csv"
    more.write_text(MORE)
    await connection.execute(
        "CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.cash = 1; RETURN NEW; END $$;"
        "CREATE TRIGGER tamper BEFORE INSERT ON balances FOR EACH ROW EXECUTE FUNCTION tamper()"
    )
    try:
        for options in (("import", more, "--ledger", "books", "--append"), ("generate", "--ledger", "made")):
            code, out, err = await ledger(dsn, *options)
            assert (code, out) == (1, "")
            assert err.startswith("reportsim: the ledger was not written: ")
            assert err.count("\n") == 1
    finally:
        await connection.execute("DROP TRIGGER tamper ON balances; DROP FUNCTION tamper")
    assert (await ledger(dsn, "verify", "books"))[:2] == (0, "books: 2 lines, 1 versions, nothing wrong\n")
    assert "made" not in (await ledger(dsn, "list"))[1]
