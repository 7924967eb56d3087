"""The HTTP plumbing that the API, the pages and the demo receiver share."""
