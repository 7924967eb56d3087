"""Callback delivery: queues, attempts and the guard against SSRF."""
