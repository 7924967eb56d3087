"""The race of both patterns on the home page."""
