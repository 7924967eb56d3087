"""Target files that are right, and what is wrong in others, with the key that the error must name."""

FULL = """
[sync]
request = {method = "POST", url = "https://a.example/report", headers = {Authorization = "Bearer ${env:TOKEN}"}, \
body = {n = "${index}", deep = [{again = "is ${index}"}], flag = true}}
success = [200]
result = {pointer = "/state", done = ["ok"], failed = ["error"]}
[async]
request = {method = "POST", url = "https://a.example/jobs", headers = {"Idempotency-Key" = "${key}"}, \
body = {notify = "${callback_url}"}}
accepted = {status = [202], id = {pointer = "/job/id"}}
[async.callback]
listen = "0.0.0.0:9009"
public_url = "https://tunnel.example"
id = "url"
status = {pointer = "/state", done = ["ok"], failed = ["error"]}
verify = {scheme = "standard-webhooks", secret = "${env:SECRET}"}
[limits]
client_timeout_s = 8
result_deadline_s = 60
settle_s = 10
"""

SYNC = '[sync]\nrequest = {url = "http://127.0.0.1:9/"}\n'
CALLBACK = """
[async]
request = {url = "http://127.0.0.1:9/jobs", body = {notify = "${callback_url}"}}
[async.callback]
listen = "127.0.0.1:0"
"""
POLL = """
[async]
request = {url = "http://127.0.0.1:9/jobs"}
accepted = {id = {pointer = "/id"}}
[async.poll]
url = "http://127.0.0.1:9/jobs/${id}"
interval_s = 0.5
status = {pointer = "/status", done = ["COMPLETED"], failed = ["FAILED"]}
"""
SSE = """
[async]
request = {url = "http://localhost:9/jobs"}
accepted = {id = {header = "X-Job"}}
[async.sse]
url = "http://[::1]:9/events"
id = {pointer = "/id"}
status = {pointer = "/status", done = ["COMPLETED"]}
"""
EXAMPLES = {
    "callback by path": CALLBACK,
    "callback by key": CALLBACK.replace("${callback_url}", "${key}") + 'id = {header = "X-Key"}\n',
    "poll by id": POLL,
    "poll by location": POLL.replace("http://127.0.0.1:9/jobs/${id}", "${location}"),
    "poll without a status": POLL.replace("status = {pointer", "#"),
    "sse for all": SSE,
    "sse each": SSE.replace("/events", "/events/${id}").replace('id = {pointer = "/id"}', ""),
}

MALFORMED = {
    "not TOML": ("the file", "[sync"),
    "empty": ("the file", ""),
    "a number without an end": ("the file", "a = " + "1" * 5_000),
    "a key of two lines": ("sync.a\\nb", '[sync]\n"a\\nb" = 1'),
    "a value of two lines": (
        "sync.result.failed",
        SYNC + 'result = {pointer = "/s", done = ["\\n"], failed = ["\\n"]}',
    ),
    "nested too deeply": ("the file", "a = " + "[" * 5_000),
    "unknown table": ("server", "[server]\n" + SYNC),
    "sync is a string": ("sync", 'sync = "http://127.0.0.1/"'),
    "no request": ("sync.request", "[sync]\nsuccess = [200]"),
    "request is a URL": ("sync.request", '[sync]\nrequest = "http://127.0.0.1/"'),
    "no URL": ("sync.request.url", '[sync]\nrequest = {method = "GET"}'),
    "URL is a number": ("sync.request.url", "[sync]\nrequest = {url = 80}"),
    "URL without a scheme": ("sync.request.url", SYNC.replace("http://", "")),
    "URL of files": ("sync.request.url", SYNC.replace("http:", "file:")),
    "URL without a host": ("sync.request.url", SYNC.replace("127.0.0.1:9", "")),
    "URL with a blank": ("sync.request.url", SYNC.replace("9/", "9/ x")),
    "URL with a port too high": ("sync.request.url", SYNC.replace(":9", ":99999")),
    "URL with a password": ("sync.request.url", SYNC.replace("127", "${env:TOKEN}@127")),
    "URL whose host varies": ("sync.request.url", SYNC.replace("127.0.0.1", "h${index}.example")),
    "misspelt key": ("sync.request.metod", SYNC.replace("url", 'metod = "GET", url')),
    "unknown method": ("sync.request.method", SYNC.replace("url", 'method = "FETCH", url')),
    "unknown placeholder": ("sync.request.url", SYNC.replace("9/", "9/${nubmer}")),
    "callback URL on the sync side": ("sync.request.url", SYNC.replace("9/", "9/${callback_url}")),
    "missing variable": ("sync.request.url", SYNC.replace("9/", "9/${env:NOT_THERE}")),
    "variable without a name": ("sync.request.url", SYNC.replace("9/", "9/${env:}")),
    "header is a number": ("sync.request.headers.X", SYNC.replace("url", "headers = {X = 1}, url")),
    "headers are a list": ("sync.request.headers", SYNC.replace("url", "headers = [], url")),
    "header with a blank": ("sync.request.headers.X Y", SYNC.replace("url", 'headers = {"X Y" = "1"}, url')),
    "header of HTTP itself": ("sync.request.headers.Host", SYNC.replace("url", 'headers = {Host = "x"}, url')),
    "header with a line break": ("sync.request.headers.X", SYNC.replace("url", 'headers = {X = "${env:BROKEN}"}, url')),
    "body is a date": ("sync.request.body.day", SYNC.replace("url", "body = {day = 2026-01-01}, url")),
    "body is not a number": ("sync.request.body.n", SYNC.replace("url", "body = {n = nan}, url")),
    "body is one number": ("sync.request.body", SYNC.replace("url", "body = 1, url")),
    "body with a placeholder as a name": ("sync.request.body", SYNC.replace("url", 'body = {"${key}" = 1}, url')),
    "success is a number": ("sync.success", SYNC + "success = 200"),
    "success is empty": ("sync.success", SYNC + "success = []"),
    "success is no status": ("sync.success", SYNC + "success = [99]"),
    "result without a pointer": ("sync.result.pointer", SYNC + 'result = {done = ["ok"]}'),
    "result with a bad pointer": ("sync.result.pointer", SYNC + 'result = {pointer = "state", done = ["ok"]}'),
    "result that is never done": ("sync.result.done", SYNC + 'result = {pointer = "/s"}'),
    "done and failed at once": ("sync.result.failed", SYNC + 'result = {pointer = "/s", done = ["x"], failed = ["x"]}'),
    "done is a table": ("sync.result.done", SYNC + 'result = {pointer = "/s", done = [{}]}'),
    "no way": ("async", '[async]\nrequest = {url = "http://127.0.0.1/"}'),
    "two ways": ("async", CALLBACK + POLL.replace("\n[async]", "#").replace("request", "#").replace("accepted", "#")),
    "nowhere a callback URL": ("async.request", CALLBACK.replace("${callback_url}", "there")),
    "nothing to listen on": ("async.callback.listen", CALLBACK.replace("listen", "# listen")),
    "no port to listen on": ("async.callback.listen", CALLBACK.replace(":0", "")),
    "a port too high": ("async.callback.listen", CALLBACK.replace(":0", ":70000")),
    "no public URL": ("async.callback.public_url", CALLBACK.replace("127.0.0.1:0", "0.0.0.0:0")),
    "a public URL without a scheme": ("async.callback.public_url", CALLBACK + 'public_url = "tunnel.example"'),
    "an id of another kind": ("async.callback.id", CALLBACK + 'id = "path"'),
    "an id of both kinds": ("async.callback.id", CALLBACK + 'id = {pointer = "/id", header = "X"}'),
    "an id that nothing is known of": ("async.accepted.id", CALLBACK + 'id = {pointer = "/id"}'),
    "an unknown scheme": ("async.callback.verify.scheme", CALLBACK + 'verify = {scheme = "rot13", secret = "x"}'),
    "a secret in another form": (
        "async.callback.verify.secret",
        CALLBACK + 'verify = {scheme = "standard-webhooks", secret = "${env:TOKEN}"}',
    ),
    "an empty secret": ("async.callback.verify.secret", CALLBACK + 'verify = {scheme = "github", secret = ""}'),
    "no interval": ("async.poll.interval_s", POLL.replace("interval_s", "# interval_s")),
    "an interval of nothing": ("async.poll.interval_s", POLL.replace("0.5", "0")),
    "an interval in words": ("async.poll.interval_s", POLL.replace("0.5", '"often"')),
    "retry_after is a number": ("async.poll.retry_after", POLL + "retry_after = 1"),
    "a location with more": ("async.poll.url", POLL.replace("jobs/${id}", "${location}")),
    "a poll by an id that is not read": ("async.accepted.id", POLL.replace("accepted", "# accepted")),
    "a stream for all without ids": ("async.sse.id", SSE.replace("id = {pointer", "# id = {pointer")),
    "a stream without a state": ("async.sse.status", SSE.replace("status", "# status")),
    "a time-out below zero": ("limits.client_timeout_s", SYNC + "[limits]\nclient_timeout_s = -1"),
    "a deadline that is no number": ("limits.result_deadline_s", SYNC + "[limits]\nresult_deadline_s = nan"),
    "an unknown limit": ("limits.timeout", SYNC + "[limits]\ntimeout = 1"),
}
