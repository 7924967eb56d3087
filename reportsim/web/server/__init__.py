"""The listening socket and its connections, below aiohttp's middleware."""
