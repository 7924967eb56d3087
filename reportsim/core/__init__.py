"""Pure rules without I/O: model, problems, addresses, signing, backoff."""
