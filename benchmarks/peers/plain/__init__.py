"""The plain stack: FastAPI, SQLAlchemy and threads, written as a team would that takes each from its documentation.

The same accepts, reports, callbacks and log on the same tables as the service, with the entries added up for every
request. It is a yardstick, not a product: it retries callbacks in the thread that sends them, and guards no address.
Needs the extra `peers`.
"""
