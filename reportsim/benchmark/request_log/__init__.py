"""Durations of requests from logs of other services: access logs, CSV, JSON lines, or plain columns."""
