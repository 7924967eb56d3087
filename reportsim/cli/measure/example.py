"""A target file with every key, explained."""

from typing import Final

EXAMPLE: Final = """\
# What `reportsim measure` sends, and how it learns the results. A file has [sync], [async] or both.
#
# ${index} is the number of a request, the same on both sides; ${key} is unique to it. ${env:NAME} is a variable of the
# environment, which is never shown. They are put into strings: of URLs, headers and bodies.

[sync]                        # the answer is the result
request = {method = "POST", url = "http://127.0.0.1:8000/report", body = {n = "${index}"}}
# headers = {Authorization = "Bearer ${env:TOKEN}"} beside url; a body that is a string is sent as it stands
success = [200]               # every other status is an error; 429 and 503 are counted as shed
# result = {pointer = "/state", done = ["ok"], failed = ["error"]}   # where the status alone does not tell

[async]                       # the answer says that the request was accepted
request = {method = "POST", url = "http://127.0.0.1:8000/jobs", headers = {"Idempotency-Key" = "${key}"}, \
body = {notify = "${callback_url}"}}
accepted = {status = [202], id = {pointer = "/id"}}                  # or id = {header = "Location"}

# Exactly one of [async.callback], [async.poll] and [async.sse].

[async.callback]              # the service calls
listen = "127.0.0.1:9009"     # port 0 is any free one
# public_url = "https://tunnel.example"                              # where the service finds that, if elsewhere
id = "url"                    # ${callback_url} is different for each request; or {pointer = "/id"}, {header = "X-Id"}
status = {pointer = "/state", done = ["ok"], failed = ["error"]}     # left out: any callback is the result
# verify = {scheme = "standard-webhooks", secret = "${env:SECRET}"}  # or "github", "stripe"

# [async.poll]                # clients ask
# url = "${location}"         # what the answer's Location says, or a URL with ${id}
# interval_s = 0.5            # the first time this long after the answer
# retry_after = true          # Retry-After lengthens the interval, and never shortens it
# status = {pointer = "/status", done = ["COMPLETED"], failed = ["FAILED"]}   # left out: the first 200 is the result
# headers = {Authorization = "Bearer ${env:TOKEN}"}

# [async.sse]                 # clients listen
# url = "http://127.0.0.1:8000/events"                               # one stream for all, or one each with ${id}
# id = {pointer = "/id"}
# status = {pointer = "/status", done = ["COMPLETED"], failed = ["FAILED"]}

[limits]
client_timeout_s = 8          # for an answer, from when the request was due
result_deadline_s = 120       # for the result of an async request; one that comes later is lost
settle_s = 10                 # after the last result, for callbacks that come twice
"""
