-- Ledgers that the first start makes: whoever deletes one does not find it again after the next start.
CREATE TABLE first_ledgers (name text PRIMARY KEY);

INSERT INTO first_ledgers
SELECT name FROM (VALUES ('demo'), ('tiny')) AS made (name)
WHERE EXISTS (SELECT FROM ledgers AS l WHERE l.name = made.name)
    OR EXISTS (SELECT FROM webhook_secrets) OR EXISTS (SELECT FROM requests);

-- The first and the last day of the calendar had been written as infinities.
UPDATE ledgers SET first_on = least(greatest(first_on, DATE '0001-01-01'), DATE '9999-12-31'),
    last_on = least(greatest(last_on, DATE '0001-01-01'), DATE '9999-12-31')
WHERE NOT (isfinite(first_on) AND isfinite(last_on));

-- More decimals than any currency has: a bitcoin has 8, and units of 18 decimals fill a bigint.
ALTER TABLE ledgers DROP CONSTRAINT ledgers_exponent_check;
ALTER TABLE ledgers ADD CONSTRAINT ledgers_exponent_check CHECK (exponent BETWEEN 0 AND 18);

-- The full name that hledger has for an account whose code is only the last component of it: a later import must not
-- take another account for this one.
ALTER TABLE accounts ADD COLUMN full_name text COLLATE "C";

-- Which of some versions are the newest of their ledgers, for the statement that accepts requests. A function keeps its
-- plan; a subquery would be planned anew with every small batch, for a third of the time that the insert takes.
CREATE FUNCTION ledgers_are_newest(ids integer[], versions integer[]) RETURNS boolean[]
    LANGUAGE plpgsql STABLE
    AS $$
    DECLARE
        newest boolean[];
        latest integer;
    BEGIN
        FOR i IN 1 .. coalesce(array_length(ids, 1), 0) LOOP
            IF i = 1 OR ids[i] <> ids[i - 1] THEN
                latest := (SELECT l.version FROM ledgers AS l WHERE l.ledger_id = ids[i]);
            END IF;
            newest[i] := coalesce(latest = versions[i], false);
        END LOOP;
        RETURN newest;
    END
    $$;
