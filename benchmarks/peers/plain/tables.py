"""The tables: ledgers as the service has them, and requests and a callback log of the plain stack's own."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, Text, func
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {datetime: TIMESTAMP(timezone=True), dict[str, Any]: JSONB, str: Text}  # noqa: RUF012


class Ledger(Base):
    """A ledger of the service."""

    __tablename__ = "ledgers"

    ledger_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    currency: Mapped[str]
    exponent: Mapped[int]
    version: Mapped[int]
    first_on: Mapped[date]
    last_on: Mapped[date]


class Account(Base):
    """An account of the service."""

    __tablename__ = "accounts"

    ledger_id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]
    name: Mapped[str]
    type: Mapped[str]
    version: Mapped[int]


class Posting(Base):
    """An entry of the service: signed minor units, debit positive."""

    __tablename__ = "postings"

    ledger_id: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    line_no: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int]
    version: Mapped[int]
    posted_on: Mapped[date]
    amount: Mapped[int] = mapped_column(BigInteger)
    description: Mapped[str]


class Request(Base):
    """A request, and what became of it."""

    __tablename__ = "plain_requests"
    __table_args__ = (Index("plain_requests_open", "id", postgresql_where="status IN ('PENDING', 'PROCESSING')"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    mode: Mapped[str]
    status: Mapped[str]
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    input_payload: Mapped[dict[str, Any]]
    result_payload: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    ledger_id: Mapped[int]
    ledger_version: Mapped[int]
    callback_url: Mapped[str | None]
    callback_status: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class CallbackLog(Base):
    """One attempt to call back."""

    __tablename__ = "plain_callback_logs"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(Request.id, ondelete="CASCADE"), index=True)
    attempt_number: Mapped[int] = mapped_column(Integer)
    status_code: Mapped[int | None]
    success: Mapped[bool]
    error_message: Mapped[str | None]
    response_time_ms: Mapped[float]
    attempted_at: Mapped[datetime] = mapped_column(server_default=func.now())
