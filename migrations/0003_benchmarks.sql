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
    completed_at  timestamptz
);

-- One at a time, whatever replica is asked: two at once would measure each other.
CREATE UNIQUE INDEX benchmarks_active ON benchmarks ((true)) WHERE status IN ('PENDING', 'RUNNING');
