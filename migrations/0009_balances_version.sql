-- The rows that a version has written, for the proof that follows: they are a few pages of a table that grows with every
-- import, and its key begins with accounts. Readers are not held up, imports wait until the index is built.
CREATE INDEX balances_version ON balances USING brin (ledger_id, version) WITH (pages_per_range = 16);
