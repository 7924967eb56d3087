"""A webhook endpoint inside the service that fails on request."""
