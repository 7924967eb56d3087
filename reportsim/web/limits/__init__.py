"""Limits on rates and on concurrency, and the client that they apply to."""
