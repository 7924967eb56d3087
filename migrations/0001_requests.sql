-- The table is the queue: a row is the job, its state and its history.
CREATE TABLE requests (
    id                uuid PRIMARY KEY,
    mode              text NOT NULL CHECK (mode IN ('sync', 'async')),
    status            text NOT NULL CHECK (status IN ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED')),
    input_payload     json NOT NULL,
    result_payload    json,
    error             json,
    callback_url      text,
    -- the destination, however its URL is spelt: deliveries to one never hold up those to another
    callback_origin   text COLLATE "C",
    callback_status   text CHECK (callback_status IN ('PENDING', 'SUCCESS', 'FAILED')),
    callback_attempts integer NOT NULL DEFAULT 0,
    callback_series   integer NOT NULL DEFAULT 1,
    callback_fence    integer NOT NULL DEFAULT 0,
    -- when anyone may take the next attempt: the end of a wait, or of the lease of who is at it
    callback_due_at   timestamptz,
    callback_owner    uuid,
    callback_demo     boolean NOT NULL DEFAULT false,
    idempotency_key   text UNIQUE,
    endpoint          text NOT NULL,
    fingerprint       bytea,
    answer_status     smallint,
    answer_body       bytea,
    ledger_id         integer NOT NULL,
    ledger_version    integer NOT NULL,
    report_version    integer NOT NULL,
    csv_guard         boolean NOT NULL,
    run_id            uuid,
    http_request_id   text,
    traceparent       text,
    owner             uuid,
    lease_until       timestamptz,
    tries             integer NOT NULL DEFAULT 0,
    takeovers         integer NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL,
    started_at        timestamptz,
    completed_at      timestamptz,
    changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status IN ('COMPLETED', 'FAILED')) = (completed_at IS NOT NULL)),
    CHECK (status <> 'COMPLETED' OR result_payload IS NOT NULL),
    CHECK (status = 'FAILED' OR error IS NULL),
    CHECK ((callback_url IS NULL) = (callback_status IS NULL)),
    CHECK ((callback_url IS NULL) = (callback_origin IS NULL)),
    CHECK (mode = 'async' OR callback_url IS NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Two queues, each read in order without a filter left over: what anyone may take, and what belongs to one owner.
-- A filter here would let a planner with old statistics sort the whole queue for every claim.
CREATE INDEX requests_pending ON requests (id) WHERE status = 'PENDING' AND owner IS NULL;
CREATE INDEX requests_pending_owned ON requests (owner, id) WHERE status = 'PENDING' AND owner IS NOT NULL;
CREATE INDEX requests_leased ON requests (lease_until) WHERE status IN ('PENDING', 'PROCESSING');
CREATE INDEX requests_callback_due ON requests (callback_origin, callback_due_at)
    WHERE callback_status = 'PENDING' AND callback_due_at IS NOT NULL;
-- The list, whole and by its filters. What has COMPLETED is found in the whole list; every other state is rare.
CREATE INDEX requests_listed ON requests (id) WHERE run_id IS NULL;
CREATE INDEX requests_listed_mode ON requests (mode, id) WHERE run_id IS NULL;
CREATE INDEX requests_listed_status ON requests (status, id) WHERE run_id IS NULL AND status <> 'COMPLETED';
CREATE INDEX requests_listed_callback ON requests (callback_status, id)
    WHERE run_id IS NULL AND callback_status IS NOT NULL;
CREATE INDEX requests_run ON requests (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX requests_changed ON requests USING brin (changed_at) WITH (pages_per_range = 16);

CREATE TABLE callback_logs (
    id               uuid PRIMARY KEY,
    request_id       uuid NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    series           integer NOT NULL CHECK (series >= 1),
    attempt_number   integer NOT NULL CHECK (attempt_number >= 1),
    status_code      integer,
    success          boolean NOT NULL,
    reason           text,
    error_message    text,
    response_time_ms double precision NOT NULL,
    attempted_at     timestamptz NOT NULL,
    remote_ip        text,
    response_excerpt text,
    next_attempt_at  timestamptz,
    UNIQUE (request_id, series, attempt_number)
);

CREATE TABLE webhook_secrets (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    secret text NOT NULL
);
