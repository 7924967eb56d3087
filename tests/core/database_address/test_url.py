"""Database addresses as people copy them: read as they are meant, or refused in one line that names what is wrong."""

from typing import Any

import pytest

from reportsim.core.database_address.parameter_names import DatabaseURLError
from reportsim.core.database_address.url import DatabaseURL, Host, parse_database_url


def url(*hosts: tuple[str | None, int | None], **rest: Any) -> DatabaseURL:
    """What an address is expected to say."""
    return DatabaseURL(hosts=tuple(Host(*host) for host in hosts) or (Host(),), **rest)


ACME = ("db.acme.example", 5432)
LOGIN = {"user": "ann", "password": "s3cret", "database": "books"}
PLAIN = url(("db.acme.example", None), **LOGIN)
REQUIRED = {"sslmode": "require"}
AT = "postgresql://ann:s3cret@db.acme.example/books"

READ = {
    # libpq
    "postgresql://": url(),
    "postgresql://localhost": url(("localhost", None)),
    "postgresql://localhost:5433": url(("localhost", 5433)),
    "postgresql://localhost/books": url(("localhost", None), database="books"),
    "postgresql://ann@localhost": url(("localhost", None), user="ann"),
    "postgresql://ann:@localhost/books": url(("localhost", None), user="ann", database="books"),
    "postgresql:///books?host=localhost&port=5433": url(("localhost", 5433), database="books"),
    "postgresql:///books?host=/var/run/postgresql": url(("/var/run/postgresql", None), database="books"),
    "postgresql://%2Fvar%2Frun%2Fpostgresql/books": url(("/var/run/postgresql", None), database="books"),
    "postgresql://[2001:db8::1234]/books": url(("2001:db8::1234", None), database="books"),
    "postgresql://[::1]:5433,10.0.0.7/books": url(
        ("::1", 5433), ("10.0.0.7", None), database="books", target="primary"
    ),
    "postgresql://ann@one.example:5433,two.example:5434/books?target_session_attrs=read-write": url(
        ("one.example", 5433), ("two.example", 5434), user="ann", database="books", target="read-write"
    ),
    "postgresql://one.example,two.example/books?target_session_attrs=any&load_balance_hosts=random": url(
        ("one.example", None), ("two.example", None), database="books", target="primary", random_order=True
    ),
    "postgresql:///books?host=one.example,two.example&port=5433,5434": url(
        ("one.example", 5433), ("two.example", 5434), database="books", target="primary"
    ),
    "host=localhost port=5432 dbname=books user=ann password='a b\\'c' connect_timeout=10": url(
        ("localhost", 5432), user="ann", password="a b'c", database="books", connect_timeout=10.0
    ),
    "postgresql:///books?hostaddr=10.0.0.7&port=5433&user=ann": url(("10.0.0.7", 5433), user="ann", database="books"),
    f"{AT}?application_name=report%20sim&options=-c%20work_mem%3D16MB": url(
        ("db.acme.example", None), **LOGIN, settings={"application_name": "report sim", "options": "-c work_mem=16MB"}
    ),
    f"{AT}?keepalives=1&keepalives_idle=60&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=9000": url(
        ("db.acme.example", None),
        **LOGIN,
        sockets={
            "keepalives": 1,
            "keepalives_idle": 60,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 9000,
        },
    ),
    f"{AT}?gssencmode=disable&sslsni=0&sslcompression=0&krbsrvname=postgres": url(
        ("db.acme.example", None), **LOGIN, driver={"krbsrvname": "postgres"}
    ),
    f"{AT}?sslmode=verify-full&sslrootcert=system&sslnegotiation=direct": url(
        ("db.acme.example", None),
        **LOGIN,
        driver={"sslmode": "verify-full", "sslrootcert": "system", "sslnegotiation": "direct"},
    ),
    f"{AT}?sslrootcert=system": url(
        ("db.acme.example", None), **LOGIN, driver={"sslmode": "verify-full", "sslrootcert": "system"}
    ),
    "postgresql://?service=accounting": url(driver={"service": "accounting"}),
    f"{AT}?ssl=true": url(("db.acme.example", None), **LOGIN, driver=REQUIRED),
    # hosts
    "postgres://u7xk:p9ab12@ec2-52-1-2-3.compute-1.acme.example:5432/d8qf": url(
        ("ec2-52-1-2-3.compute-1.acme.example", 5432), user="u7xk", password="p9ab12", database="d8qf"
    ),
    "psql 'postgresql://ann:s3cret@ep-fog-1-pooler.acme.example/books?sslmode=require&channel_binding=require'": url(
        ("ep-fog-1-pooler.acme.example", None), **LOGIN, driver=REQUIRED
    ),
    f"{AT}?options=endpoint%3Dep-calm-fog-123&sslmode=require": url(
        ("db.acme.example", None), **LOGIN, driver=REQUIRED, settings={"options": "endpoint=ep-calm-fog-123"}
    ),
    "postgresql://postgres.abcdef:s3cret@eu-1.pooler.acme.example:6543/postgres?pgbouncer=true&connection_limit=1": url(
        ("eu-1.pooler.acme.example", 6543),
        user="postgres.abcdef",
        password="s3cret",
        database="postgres",
        pooled=True,
        statement_cache=0,
        connections=1,
    ),
    f"{AT}?sslmode=require&supa=base-pooler.x": url(
        ("db.acme.example", None), **LOGIN, driver=REQUIRED, pooled=True, statement_cache=0
    ),
    f"{AT}?workaround=acme-pooler.vercel": url(("db.acme.example", None), **LOGIN, pooled=True, statement_cache=0),
    f"{AT}?sslmode=verify-full&sslrootcert=/etc/acme/global-bundle.pem": url(
        ("db.acme.example", None),
        **LOGIN,
        driver={"sslmode": "verify-full", "sslrootcert": "/etc/acme/global-bundle.pem"},
    ),
    "postgres://ann%40acme:s3cret@acme.database.example:5432/books?sslmode=require": url(
        ("acme.database.example", 5432), user="ann@acme", password="s3cret", database="books", driver=REQUIRED
    ),
    "postgres://ann@acme:s3cret@acme.database.example/books": url(
        ("acme.database.example", None), user="ann@acme", password="s3cret", database="books"
    ),
    "postgresql://ann:s3cret@/books?host=/cloudsql/acme:europe-west1:main": url(
        ("/cloudsql/acme:europe-west1:main", None), **LOGIN
    ),
    "postgresql://doadmin:s3cret@main-do-user-1.db.acme.example:25060/defaultdb?sslmode=require": url(
        ("main-do-user-1.db.acme.example", 25060),
        user="doadmin",
        password="s3cret",
        database="defaultdb",
        driver=REQUIRED,
    ),
    "postgres://postgres:s3cret@books-db.flycast:5432/books?sslmode=disable": url(
        ("books-db.flycast", 5432),
        user="postgres",
        password="s3cret",
        database="books",
        driver={"sslmode": "disable"},
    ),
    # drivers
    "postgresql+asyncpg://ann:s3cret@db.acme.example:5432/books": url(ACME, **LOGIN),
    f"{AT}?prepared_statement_cache_size=0".replace("postgresql:", "postgresql+asyncpg:"): url(
        ("db.acme.example", None), **LOGIN, pooled=True, statement_cache=0
    ),
    "postgresql+psycopg://ann:s3cret@/books?host=one.example:5433&host=two.example:5434": url(
        ("one.example", 5433), ("two.example", 5434), **LOGIN, target="primary"
    ),
    f"{AT}?ssl=verify-full": url(("db.acme.example", None), **LOGIN, driver={"sslmode": "verify-full"}),
    "jdbc:postgresql://db.acme.example:5432/books?user=ann&password=s3cret&ssl=true&prepareThreshold=0": url(
        ACME, **LOGIN, driver=REQUIRED, pooled=True, statement_cache=0
    ),
    "jdbc:postgresql://one.example,two.example/b?targetServerType=master&loadBalanceHosts=true&loginTimeout=3": url(
        ("one.example", None),
        ("two.example", None),
        database="b",
        target="primary",
        random_order=True,
        connect_timeout=3.0,
    ),
    f"{AT}?currentSchema=reports&ApplicationName=books&socketTimeout=20&tcpKeepAlive=true&stringtype=unspecified": url(
        ("db.acme.example", None),
        **LOGIN,
        settings={"search_path": "reports", "application_name": "books"},
        statement_timeout=20.0,
        sockets={"keepalives": 1},
    ),
    f"{AT}?schema=reports&connection_limit=5&pool_timeout=2&connect_timeout=15&socket_timeout=30": url(
        ("db.acme.example", None),
        **LOGIN,
        settings={"search_path": "reports"},
        connections=5,
        acquire_timeout=2.0,
        connect_timeout=15.0,
        statement_timeout=30.0,
    ),
    f"{AT}?sslmode=require&sslaccept=strict": url(
        ("db.acme.example", None), **LOGIN, driver={"sslmode": "verify-full", "sslrootcert": "system"}
    ),
    f"{AT}?sslaccept=strict": PLAIN,
    f"{AT}?pool=5&prepared_statements=false&encoding=unicode&schema_search_path=a,b&advisory_locks=false": url(
        ("db.acme.example", None),
        **LOGIN,
        settings={"search_path": "a,b"},
        connections=5,
        pooled=True,
        statement_cache=0,
    ),
    f"{AT}?conn_max_age=600&conn_health_checks=true&ssl_require=true&disable_server_side_cursors=true".replace(
        "postgresql:", "postgis:"
    ): url(("db.acme.example", None), **LOGIN, driver=REQUIRED, pooled=True, statement_cache=0),
    f"{AT}?ssl=true&uselibpqcompat=true&max=10&idleTimeoutMillis=30000&statement_timeout=9000": url(
        ("db.acme.example", None),
        **LOGIN,
        driver=REQUIRED,
        connections=10,
        settings={"statement_timeout": "9000"},
    ),
    f"{AT}?prepare=false&max_lifetime=60": url(("db.acme.example", None), **LOGIN, pooled=True, statement_cache=0),
    f"{AT}?pool_max_conns=10&pool_max_conn_lifetime=1h&default_query_exec_mode=exec": url(
        ("db.acme.example", None), **LOGIN, connections=10, pooled=True, statement_cache=0
    ),
    f"{AT}?statement-cache-capacity=50": url(("db.acme.example", None), **LOGIN, statement_cache=50),
    f"{AT}?binary_parameters=yes": url(("db.acme.example", None), **LOGIN, pooled=True, statement_cache=0),
    "postgresql://ann:s3cret@one.example:1,two.example/books?target_session_attrs=prefer-standby": url(
        ("one.example", 1), ("two.example", None), **LOGIN, target="primary"
    ),
    "dbname=books": url(database="books"),
    "host=db.acme.example user=ann password=s3;cret dbname = books sslmode=require": url(
        ("db.acme.example", None), user="ann", password="s3;cret", database="books", driver=REQUIRED
    ),
    f"{AT}?channel_binding=prefer&passfile=/home/ann/.pgpass&fallback_application_name=psql": url(
        ("db.acme.example", None),
        **LOGIN,
        driver={"passfile": "/home/ann/.pgpass"},
        settings={"application_name": "psql"},
    ),
    f"{AT}?sslcert=/a/client.crt&sslkey=/a/client.key&sslmode=verify-ca&sslrootcert=/a/ca.crt": url(
        ("db.acme.example", None),
        **LOGIN,
        driver={
            "sslcert": "/a/client.crt",
            "sslkey": "/a/client.key",
            "sslmode": "verify-ca",
            "sslrootcert": "/a/ca.crt",
        },
    ),
    "postgresql://ann@[fe80::1%25eth0]/books": url(("fe80::1%eth0", None), user="ann", database="books"),
    # what stands around it, and what is in it
    f'  "{AT}"\n': PLAIN,
    f"'{AT}'": PLAIN,
    f"DATABASE_URL={AT}": PLAIN,
    f"{AT}\r\n": PLAIN,
    "postgresql://ann:p%40ss%2Fw%25rd%3F@db.acme.example/books": url(
        ("db.acme.example", None), user="ann", password="p@ss/w%rd?", database="books"
    ),
    "postgresql://ann:p@ss#word@db.acme.example/books": url(
        ("db.acme.example", None), user="ann", password="p@ss#word", database="books"
    ),
    "postgresql://ann:a+b@db.acme.example/my%20books?application_name=a+b": url(
        ("db.acme.example", None),
        user="ann",
        password="a+b",
        database="my books",
        settings={"application_name": "a+b"},
    ),
}

REFUSED = {
    "": "must start with postgresql://",
    "localhost/books": "must start with postgresql://",
    "mysql://ann@localhost/books": "must start with postgresql://",
    "prisma://accelerate.acme.example/?api_key=abc": "must start with postgresql://",
    "Host=localhost;Username=ann;Password=s3cret;Database=books": "must start with postgresql://",
    "postgresql://postgres:[YOUR-PASSWORD]@db.acme.example:5432/postgres": "placeholder",
    "postgresql://ann:s3c/ret@db.acme.example/books": "%2F",
    "postgresql://ann:s3c%ret@db.acme.example/books": "%25",
    "postgresql://ann:s3cret@::1/books": "brackets",
    "postgresql://ann:s3cret@db.acme.example:0/books": "a port must be",
    "postgresql://ann:s3cret@one.example,two.example/books?port=1,2,3": "3 ports for 2 hosts",
    f"{AT}?sslmode=no-verify": "sslmode=no-verify",
    f"{AT}?sslmode=insist": "sslmode must be one of",
    f"{AT}?sslmode=require&sslrootcert=system": "sslrootcert=system",
    f"{AT}?sslmode=disable&channel_binding=require": "channel_binding=require",
    f"{AT}?require_auth=scram-sha-256": "require_auth",
    f"{AT}?gssencmode=require": "gssencmode",
    f"{AT}?requirepeer=postgres": "requirepeer",
    f"{AT}?replication=database": "replication",
    f"{AT}?client_encoding=latin1": "client_encoding",
    f"{AT}?target_session_attrs=standby": "target_session_attrs",
    f"{AT}?oauth_issuer=https://acme.example": "oauth_issuer",
    f"{AT}?min_protocol_version=3.2": "min_protocol_version",
    f"{AT}?default_transaction_isolation=serializable": "default_transaction_isolation",
    f"{AT}?sslmod=require": "sslmod",
    f"{AT}?sslmode": "sslmode has no value",
    f"{AT}?connect_timeout=soon": "connect_timeout",
    f"{AT}?pgbouncer=maybe": "pgbouncer",
}


@pytest.mark.parametrize("text", READ)
def test_an_address_is_read_as_it_is_meant(text: str) -> None:
    assert parse_database_url(text) == READ[text]


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_cannot_be_used_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DatabaseURLError) as caught:
        parse_database_url(text)
    message = str(caught.value)
    assert REFUSED[text] in message
    assert "\n" not in message
    assert "s3c" not in message


def test_there_are_enough_of_them() -> None:
    assert len(READ) >= 60
    assert len(READ) + len(REFUSED) >= 88


def test_the_password_is_not_shown() -> None:
    assert "s3cret" not in repr(PLAIN)


LIBPQ = (  # noqa: SIM905
    "host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding"
    " options application_name fallback_application_name keepalives keepalives_idle keepalives_interval"
    " keepalives_count tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert"
    " sslkey sslkeylogfile sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer"
    " ssl_min_protocol_version ssl_max_protocol_version min_protocol_version max_protocol_version krbsrvname gsslib"
    " gssdelegation scram_client_key scram_server_key service servicefile target_session_attrs load_balance_hosts"
    " oauth_issuer oauth_client_id oauth_client_secret oauth_scope"
).split()


@pytest.mark.parametrize("name", LIBPQ)
def test_every_parameter_of_libpq_is_known(name: str) -> None:
    try:
        parse_database_url(f"{AT}?{name}=1")
    except DatabaseURLError as error:
        assert "is not known" not in str(error)
