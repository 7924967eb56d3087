"""The worker: slots, claims, execution of requests, and their ends."""
