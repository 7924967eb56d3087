-- Who asked, as a keyed hash that is never shown, and the seconds for which the request plans to hold a slot.
ALTER TABLE requests ADD COLUMN client bytea, ADD COLUMN planned_s double precision NOT NULL DEFAULT 0;

CREATE INDEX requests_client_waiting ON requests (client) INCLUDE (planned_s)
    WHERE status = 'PENDING' AND client IS NOT NULL;
