"""Files that an import must refuse, and how: a part of the message, after the name of the file."""

import random

HEADER = "date,transaction_id,line_no,account_code,account_name,account_type,debit,credit,description"
HLEDGER = (
    '"txnidx","date","date2","status","code","description","comment","account","amount","commodity","credit","debit",'
    '"posting-status","posting-comment"\n'
)
L1, L2 = "2024-01-01,1,1,a,A,asset,5,,x\n", "2024-01-01,1,2,b,B,equity,,5,x\n"


def own(*lines: str) -> str:
    return "\n".join([HEADER, *(line.rstrip("\n") for line in lines), ""])


def second(line: str, old: str = "", new: str = "") -> str:
    """A line of the good file in another transaction."""
    return line.replace(",1,", ",2,", 1).replace(old, new)


def swap(column: int, cell: str) -> str:
    """The good file with another cell in its second line."""
    cells = L1.rstrip("\n").split(",")
    cells[column] = cell
    return own(",".join(cells), L2)


def hledger(**cells: str) -> str:
    """A good file of hledger with other cells in its second line."""
    names = [name.strip('"') for name in HLEDGER.strip().split(",")]
    good = {"txnidx": "1", "date": "2024-01-01", "account": "assets:x", "amount": "5.00", "commodity": "EUR"}
    first = ",".join(f'"{good.get(name, "")}"' for name in names)
    second = ",".join(f'"{({**good, "amount": "-5.00"} | cells).get(name, "")}"' for name in names)
    return f"{HLEDGER}{first}\n{second}\n"


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "empty file": ("", "1: an empty file"),
    "a blank line": ("\n", "1: no header"),
    "bom alone": (b"\xef\xbb\xbf", "1: no header"),
    "header only": (HEADER, ": no entries"),
    "header and newline": (HEADER + "\n", ": no entries"),
    "no header": (L1 + L2, "1: the header is not that of date,transaction_id"),
    "missing columns": ("date,transaction_id,debit\n", "missing: account_code, account_name"),
    "columns in another order": (own(L1, L2).replace("debit,credit", "credit,debit"), "1: the header is not that"),
    "a column too many": (HEADER + ",extra\n", "1: the header is not that of"),
    "hledger without columns": ('"txnidx","date"\n', "missing: account, amount, commodity, description"),
    "hledger register": ('"txnidx","date","code","description","account","amount","total"\n', "missing: commodity"),
    "utf-16": (own(L1, L2).encode("utf-16"), "1: not UTF-8: byte 0xff at place 1"),
    "latin-1": (own(L1, L2).replace("A", "\xc4").encode("latin-1"), "2: not UTF-8: byte 0xc4 at place 18"),
    "overlong utf-8": (own(L1, L2).encode().replace(b",x", b",\xc0\xaf"), "2: not UTF-8: byte 0xc0"),
    "surrogate in utf-8": (own(L1, L2).encode().replace(b",x", b",\xed\xa0\x80"), "2: not UTF-8: byte 0xed"),
    "nul": (own(L1, L2.replace(",x", ",x\0")), "3: a NUL byte at place 31"),
    "binary": (random.Random(1).randbytes(5_000), "1: "),
    "too few cells": (own(L1, "2024-01-01,1,2,b,B,equity,,5"), "3: cells: 8, columns in the header: 9"),
    "too many cells": (own(L1, L2.replace(",x", ",x,y")), "3: cells: 10"),
    "an empty line": (own(L1, "", L2), "3: an empty line"),
    "the end marker of COPY": (own(L1, L2, r"\."), "4: cells: 1"),
    "semicolons": (own(L1, L2).replace(",", ";"), "1: this looks separated by semicolons"),
    "tabs": (own(L1, L2).replace(",", "\t"), "1: this looks separated by tabs"),
    "a journal": ("2025-01-02 Opening, of books\n    assets:bank  5\n    equity\n", "1: this looks like a journal"),
    "a journal's comment": ("; books\n2025-01-02 x\n", "1: this looks like a journal"),
    "unclosed quote": (own(L1.replace(",x", ',"x'), L2), "2: a quote is opened here and never closed"),
    "quote within": (own(L1.replace(",x", ',5" pipe'), L2.replace(",x", ',5" pipe')), "2: a quote in the wrong place"),
    "text after a quote": (own(L1.replace(",x", ',"x"y'), L2), "2: a quote in the wrong place"),
    "lone carriage returns": (own(L1, L2).replace("\n", "\r"), "1: "),
    "one carriage return": (own(L1.replace("x", "x\ry"), L2), "2: a carriage return that ends no line"),
    "mixed line ends": (own(L1, L2).replace("\n", "\r\n", 1), "2: this line ends another way than the header"),
    "bad date": (swap(0, "01/02/2024"), '2: date: "01/02/2024" is not a date like'),
    "today": (swap(0, "today"), '2: date: "today" is not a date'),
    "day of no calendar": (swap(0, "2023-02-29"), '2: date: there is no day "2023-02-29"'),
    "year 0": (swap(0, "0000-01-01"), '2: date: there is no day "0000-01-01"'),
    "year 10000": (swap(0, "10000-01-01"), '2: date: "10000-01-01" is not a date'),
    "no date": (swap(0, ""), '2: date: "" is not a date'),
    "transaction id of letters": (swap(1, "T-1"), '2: transaction_id: "T-1" is not a whole number'),
    "negative transaction id": (swap(1, "-1"), '2: transaction_id: "-1" is not a whole number'),
    "hexadecimal transaction id": (swap(1, "0x1"), '2: transaction_id: "0x1" is not a whole number'),
    "padded transaction id": (swap(1, " 1"), '2: transaction_id: " 1" is not a whole number'),
    "arabic digits": (swap(1, "١"), '2: transaction_id: "١" is not a whole number'),
    "huge transaction id": (swap(1, "9223372036854775808"), '2: transaction_id: "9223372036854775808" is too large'),
    "huge line number": (swap(2, "2147483648"), '2: line_no: "2147483648" is too large'),
    "no account": (swap(3, ""), "2: account_code: empty"),
    "long account": (swap(3, "a" * 101), "2: account_code: longer than 100 characters"),
    "control characters": (swap(4, "\x1b[31mA"), r"2: account_name: a control character, '\x1b'"),
    "unknown type": (swap(5, "Asset"), '2: account_type: "Asset" is none of asset, liability'),
    "no type": (own(L1.replace("asset", ""), L2), "2: the type of account a is not given"),
    "two types": (
        own(L1, L2, second(L1), second(L2, "equity", "asset")),
        "5: account b is of type asset here and equity in {path}:3",
    ),
    "two names": (
        own(L1, L2.replace("b,B,equity", "a,B,asset")),
        '3: account a is called "B" here and "A" in {path}:2',
    ),
    "both sides": (swap(7, "5"), "2: both a debit and a credit"),
    "neither side": (swap(6, ""), "2: neither a debit nor a credit"),
    "zero": (swap(6, "0.00"), "2: neither a debit nor a credit"),
    "negative amount": (swap(6, "-5"), '2: debit: "-5" is negative: it belongs on the other side'),
    "too many decimals": (swap(6, "5.001"), '2: debit: "5.001" has more decimals than EUR has: 2'),
    "zeros too many": (swap(6, "5.000"), '2: debit: "5.000" has more decimals than EUR has: 2'),
    "decimal comma": (swap(6, '"5,00"'), '2: debit: "5,00" is not an amount'),
    "grouped thousands": (swap(6, '"1,000.00"'), '2: debit: "1,000.00" is not an amount'),
    "exponent": (swap(6, "5e0"), '2: debit: "5e0" is not an amount'),
    "not a number": (swap(6, "NaN"), '2: debit: "NaN" is not an amount'),
    "currency in the amount": (swap(6, "5 EUR"), '2: debit: "5 EUR" is not an amount'),
    "formula as an amount": (swap(6, "=2+3"), '2: debit: "=2+3" is not an amount'),
    "beyond bigint": (swap(6, "92233720368547758.08"), '2: debit: "92233720368547758.08" is too large'),
    "a credit beyond bigint": (
        own(L1, L2.replace(",,5,", ",,92233720368547758.08,")),
        '3: credit: "92233720368547758.08" is too large',
    ),
    "a credit beyond bigint beside zero": (
        own(L1, L2.replace(",,5,", ",0,92233720368547758.08,")),
        '3: credit: "92233720368547758.08" is too large',
    ),
    "huge number": (swap(6, "9" * 60_000), "2: debit: "),
    "long description": (swap(8, "x" * 4_001), "2: description: longer than 4,000 characters"),
    "long line": (swap(8, "x" * 70_000), "2: more than 65,536 bytes in one record"),
    "unbalanced": (own(L1, L2.replace("5", "5.01")), "2: transaction 1 does not balance: debits less credits are -0.0"),
    "one line alone": (own(L1), "2: transaction 1 does not balance: debits less credits are 5.00"),
    "several dates": (own(L1, L2.replace("01-01", "01-02")), "3: transaction 1 has several dates: 2024-01-02 after"),
    "duplicate lines": (own(L1, L2.replace(",1,2,", ",1,1,")), "3: transaction 1 has line_no 1 twice"),
    "the file twice": (own(L1, L2, L1, L2), "4: transaction 1 has line_no 1 twice"),
    "mixed commodities": (hledger(commodity="USD"), '3: commodity: "USD" beside amounts in EUR'),
    "commodity of some": (hledger(commodity=""), "3: an amount without a commodity beside others"),
    "virtual posting": (hledger(account="(budget:x)"), '3: account: a virtual posting, "(budget:x)"'),
    "no amount": (hledger(amount=""), "3: amount: empty: hledger print -x"),
    "hledger decimals": (hledger(amount="-5.001"), '3: amount: "-5.001" has more decimals'),
    "hledger beyond bigint": (
        hledger(amount="-92233720368547758.08"),
        '3: amount: "-92233720368547758.08" is too large',
    ),
    "hledger thousands": (hledger(amount="-5,000"), '3: amount: "-5,000" has more decimals'),
    "hledger groups": (hledger(amount="-1.000,00"), '3: amount: "-1.000,00" is not an amount'),
    "hledger type": (hledger(account="Aktiva:Bank"), "3: the type of account Aktiva:Bank cannot be told from its name"),
    "hledger unbalanced": (hledger(amount="-4"), "2: transaction 1 does not balance: debits less credits are 1.00"),
    "hledger zeros only": (hledger(amount="0").replace("5.00", "0"), ": no entries"),
}
