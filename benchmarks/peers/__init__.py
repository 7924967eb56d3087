"""What the service is compared with; runs in `.venv/peers` (extra `peers`)."""
