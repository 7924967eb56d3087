"""Server-Sent Events: messages, subscribers, and the hub that sends to them."""
