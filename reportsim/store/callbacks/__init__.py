"""Deliveries of callbacks: claims, attempts and their log, new series, and the signing secret."""

from reportsim.store.callbacks.attempts import Attempt, LastAttempt, last_attempts, logs, newest_logs, record
from reportsim.store.callbacks.claims import Claim, claim, claim_due, give_back
from reportsim.store.callbacks.redelivery import MAX_SERIES, Matching, redeliver, redeliver_matching
from reportsim.store.callbacks.signing_secret import keep_secret

__all__ = [
    "MAX_SERIES",
    "Attempt",
    "Claim",
    "LastAttempt",
    "Matching",
    "claim",
    "claim_due",
    "give_back",
    "keep_secret",
    "last_attempts",
    "logs",
    "newest_logs",
    "record",
    "redeliver",
    "redeliver_matching",
]
