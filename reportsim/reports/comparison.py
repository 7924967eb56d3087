"""The days that a report is compared with."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from marshmallow import ValidationError, fields, validate

PREVIOUS_PERIOD: Final = "previous_period"
PREVIOUS_YEAR: Final = "previous_year"
DAY: Final = timedelta(days=1)
MONTHS: Final = 12
# Where an interval ends that includes the calendar's last day: no date, which is why ends are three numbers.
END_OF_CALENDAR: Final = (date.max.year + 1, 1, 1)

End = tuple[int, int, int]


def compare_field(*choices: str, error: str | None = None) -> fields.String:
    """The option that asks for a comparison."""
    return fields.String(
        validate=validate.OneOf(choices, error=error),
        metadata={"description": "Adds the amounts of other days, and the differences."},
    )


def compared_days(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The days that a report is compared with, as its own parameters name them.

    Whole months are compared with as many whole months, other days with as many days. A year earlier, a month's end is
    that month's end.

    Raises:
        ValidationError: they are before the calendar's first day.
    """
    try:
        if "as_of" in parameters:
            day = date.fromisoformat(parameters["as_of"])
            return {"as_of": str(end_a_year_before(end_after(day)) - DAY)}
        first, after = date.fromisoformat(parameters["from"]), date.fromisoformat(parameters["to"])
        end = END_OF_CALENDAR if after == date.max else (after.year, after.month, after.day)
        if parameters["compare"] == PREVIOUS_YEAR:
            return {"from": str(start_a_year_before(first)), "to": str(end_a_year_before(end))}
        return {"from": str(start_of_previous(first, end)), "to": str(first)}
    except (ValueError, OverflowError):
        raise ValidationError({"compare": ["The days to compare with are before 0001-01-01."]}) from None


def end_after(last: date) -> End:
    """The end of an interval that includes a day."""
    if last == date.max:
        return END_OF_CALENDAR
    after = last + DAY
    return after.year, after.month, after.day


def start_of_previous(first: date, end: End) -> date:
    """Where the interval begins that is as long as one and ends with its first day."""
    year, month, day = end
    if first.day == day == 1:
        index = first.year * MONTHS + first.month - 1
        start = index - (year * MONTHS + month - 1 - index)
        return date(start // MONTHS, start % MONTHS + 1, 1)
    days = date.max - first + DAY if end == END_OF_CALENDAR else date(*end) - first
    return first - days


def start_a_year_before(first: date) -> date:
    """The same first day a year earlier: for 29 February the 28th."""
    is_leap_day = (first.month, first.day) == (2, 29)
    return first.replace(year=first.year - 1, day=28 if is_leap_day else first.day)


def end_a_year_before(end: End) -> date:
    """The same day after the last one a year earlier: for 29 February 1 March, since the 28th is the last one."""
    year, month, day = end
    return date(year - 1, 3, 1) if (month, day) == (2, 29) else date(year - 1, month, day)
