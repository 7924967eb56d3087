-- Totals that accumulate over days and over versions: a report of any interval and snapshot reads one row per account
-- and end of the interval, however many entries and versions there are. The row of an account, day and version holds
-- for that day and the days after it, up to the account's next row of that version or an older one. So a version that
-- writes entries of a day writes the account's later days again.
--
-- Account 0 stands for all accounts. `amount` is the balance of one version alone, for replicas of an older build;
-- their imports fail, since they do not know the other columns.
LOCK TABLE balances IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE new_balances (
    ledger_id  integer NOT NULL,
    account_id integer NOT NULL,
    day        date NOT NULL,
    version    integer NOT NULL,
    amount     numeric NOT NULL,
    balance    numeric NOT NULL,
    debit      numeric NOT NULL,
    credit     numeric NOT NULL,
    entries    bigint NOT NULL,
    cash       numeric NOT NULL,
    CONSTRAINT new_balances_pkey PRIMARY KEY (ledger_id, account_id, day, version)
);
COMMENT ON COLUMN new_balances.cash IS 'the sum of the entries whose transactions have a line on a cash account';

CREATE TEMPORARY TABLE moved ON COMMIT DROP AS
SELECT p.ledger_id, p.account_id, p.version, p.posted_on AS day, sum(p.amount) AS amount,
    sum(greatest(p.amount, 0)) AS debit, sum(greatest(-p.amount, 0)) AS credit, count(*) AS entries,
    coalesce(sum(p.amount) FILTER (WHERE c.transaction_id IS NOT NULL), 0) AS cash
FROM postings AS p LEFT JOIN (
    SELECT DISTINCT ledger_id, transaction_id FROM postings JOIN accounts USING (ledger_id, account_id) WHERE is_cash
) AS c USING (ledger_id, transaction_id)
GROUP BY 1, 2, 3, 4;

INSERT INTO moved
SELECT ledger_id, 0, version, day, sum(amount), sum(debit), sum(credit), sum(entries), sum(cash)
FROM moved GROUP BY ledger_id, version, day;

CREATE INDEX ON moved (ledger_id, version);
ANALYZE moved;

DO $$
DECLARE
    written record;
BEGIN
    FOR written IN SELECT DISTINCT ledger_id, version FROM moved ORDER BY ledger_id, version LOOP
        INSERT INTO new_balances
        SELECT written.ledger_id, moves.account_id, moves.day, written.version, moves.amount, moves.amount + coalesce(b.balance, 0),
            moves.debit + coalesce(b.debit, 0), moves.credit + coalesce(b.credit, 0),
            moves.entries + coalesce(b.entries, 0), moves.cash + coalesce(b.cash, 0)
        FROM (
            SELECT account_id, day, sum(amount) OVER running AS amount, sum(debit) OVER running AS debit,
                sum(credit) OVER running AS credit, sum(entries) OVER running AS entries, sum(cash) OVER running AS cash
            FROM (
                SELECT account_id, day, amount, debit, credit, entries, cash
                FROM moved WHERE ledger_id = written.ledger_id AND version = written.version
                UNION ALL
                SELECT DISTINCT b.account_id, b.day, 0, 0, 0, 0, 0
                FROM (
                    SELECT account_id, min(day) AS first FROM moved
                    WHERE ledger_id = written.ledger_id AND version = written.version GROUP BY account_id) AS m
                JOIN new_balances AS b ON b.ledger_id = written.ledger_id AND b.account_id = m.account_id
                    AND b.day > m.first
                WHERE NOT EXISTS (
                    SELECT FROM moved AS n WHERE n.ledger_id = written.ledger_id AND n.version = written.version
                        AND n.account_id = b.account_id AND n.day = b.day)) AS days
            WINDOW running AS (PARTITION BY account_id ORDER BY day)) AS moves
        LEFT JOIN LATERAL (
            SELECT * FROM new_balances AS older
            WHERE older.ledger_id = written.ledger_id AND older.account_id = moves.account_id
                AND older.day <= moves.day AND older.version < written.version
            ORDER BY older.day DESC, older.version DESC LIMIT 1) AS b ON true;
    END LOOP;
END
$$;

ANALYZE new_balances;

-- The general ledger's way to its entries, and an import's to those that it has written.
CREATE INDEX postings_account_day ON postings (ledger_id, account_id, posted_on);
CREATE INDEX postings_version ON postings USING brin (ledger_id, version) WITH (pages_per_range = 16);

-- Last, since readers wait from here on.
DROP TABLE balances;
ALTER TABLE new_balances RENAME TO balances;
ALTER TABLE balances RENAME CONSTRAINT new_balances_pkey TO balances_pkey;
DROP INDEX postings_date;
