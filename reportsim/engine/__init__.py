"""What happens after a request is accepted: slots, worker, callbacks, sweeper, events."""
