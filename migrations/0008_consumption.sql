-- What replicas tell each other of used quotas where NOTIFY does not arrive; worth nothing after a minute.
CREATE UNLOGGED TABLE consumption_notices (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service text NOT NULL,
    notice  text NOT NULL,
    told_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX consumption_notices_told_at ON consumption_notices (told_at);
