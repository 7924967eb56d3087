"""The service to be measured, and the file that describes it."""
