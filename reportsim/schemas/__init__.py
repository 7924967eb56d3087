"""The marshmallow schemas of what clients send and what the service answers."""
