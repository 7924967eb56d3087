-- A double-entry ledger: signed minor units, debit positive, credit negative; entries are only ever added.
CREATE TABLE ledgers (
    ledger_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text NOT NULL UNIQUE CHECK (name <> ''),
    currency  text NOT NULL,
    exponent  smallint NOT NULL CHECK (exponent BETWEEN 0 AND 4),
    version   integer NOT NULL DEFAULT 1,
    first_on  date NOT NULL,
    last_on   date NOT NULL,
    lines     bigint NOT NULL
);

CREATE TABLE accounts (
    ledger_id  integer NOT NULL REFERENCES ledgers ON DELETE CASCADE,
    account_id integer NOT NULL,
    code       text COLLATE "C" NOT NULL CHECK (code <> ''),
    name       text NOT NULL,
    type       text NOT NULL CHECK (type IN ('asset', 'liability', 'equity', 'revenue', 'expense')),
    is_cash    boolean NOT NULL,
    cf_section text NOT NULL CHECK (cf_section IN ('operating', 'investing', 'financing', 'noncash', 'cash')),
    version    integer NOT NULL DEFAULT 1,
    PRIMARY KEY (ledger_id, account_id),
    UNIQUE (ledger_id, code)
);

-- No foreign keys here: an import checks whole sets at once, and ten million row checks would double its time.
CREATE TABLE postings (
    ledger_id      integer NOT NULL,
    transaction_id bigint NOT NULL,
    line_no        integer NOT NULL,
    account_id     integer NOT NULL,
    version        integer NOT NULL,
    posted_on      date NOT NULL,
    amount         bigint NOT NULL CHECK (amount <> 0),
    description    text NOT NULL,
    PRIMARY KEY (ledger_id, transaction_id, line_no)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5, parallel_workers = 0);

CREATE INDEX postings_date ON postings USING brin (ledger_id, posted_on) WITH (pages_per_range = 16);

-- What each account's entries of one version come to at the end of each day that has any: openings without a scan.
CREATE TABLE balances (
    ledger_id  integer NOT NULL,
    account_id integer NOT NULL,
    version    integer NOT NULL,
    day        date NOT NULL,
    amount     numeric NOT NULL,
    PRIMARY KEY (ledger_id, account_id, version, day)
);

-- A hash of plain integers over the prime field 2^31 - 1: every product stays below 2^62, the planner inlines it.
CREATE FUNCTION ledger_mix(i bigint, seed bigint, salt bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((((i * 48271 + seed * 69621 + salt * 16807 + 12345) % 2147483647)
           * ((i * 48271 + seed * 69621 + salt * 16807 + 12345) % 2147483647) % 2147483647) * 39373
           + (i * 40692 + seed + salt * 7919) % 2147483647) % 2147483647;
