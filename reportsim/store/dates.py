"""Dates as SQL has them."""


def finite(parameter: str) -> str:
    """A date parameter: asyncpg sends the first and the last day of the calendar as infinities."""
    return f"least(greatest({parameter}::date, DATE '0001-01-01'), DATE '9999-12-31')"
