CREATE TABLE benchmarks (
    id            uuid PRIMARY KEY,
    status        text NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    plan          json NOT NULL,
    prediction    json,
    result        json,
    error         json,
    samples_sync  bytea,
    samples_async bytea,
    owner         uuid NOT NULL,
    lease_until   timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    completed_at  timestamptz,
    CHECK ((status IN ('PENDING', 'RUNNING')) = (completed_at IS NULL)),
    CHECK ((status = 'COMPLETED') = (result IS NOT NULL)),
    CHECK ((status = 'FAILED') = (error IS NOT NULL))
);

-- One at a time, whatever replica is asked: two at once would measure each other.
CREATE UNIQUE INDEX benchmarks_active ON benchmarks ((true)) WHERE status IN ('PENDING', 'RUNNING');

-- The requests of a run are held by the run's own lease: nobody takes them over, and they fail with it.
DROP INDEX requests_leased;
CREATE INDEX requests_leased ON requests (lease_until) WHERE status IN ('PENDING', 'PROCESSING') AND run_id IS NULL;
CREATE INDEX requests_run_open ON requests (run_id) WHERE status IN ('PENDING', 'PROCESSING') AND run_id IS NOT NULL;
