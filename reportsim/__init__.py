"""A financial-report service that compares blocking endpoints with 202 + webhook, honestly."""

__version__ = "0.1.0"
