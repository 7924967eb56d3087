"""What can be wrong with the database: what waiting mends, and what it does not."""

import ssl
from typing import Final

import asyncpg

GRANT_CREATE: Final = "GRANT CREATE ON SCHEMA … TO the role of DATABASE_URL, or run `reportsim migrate` as the owner"


class DatabaseUnavailable(ConnectionError):
    """The database cannot be reached, or the connection to it was lost; waiting may mend that."""


class DatabaseTimeout(DatabaseUnavailable, TimeoutError):
    """The database, or a free connection to it, did not come in time."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost during COMMIT: what the transaction did may be there, or not."""


class DatabaseMisconfigured(DatabaseUnavailable):
    """The address, the role or the database does not fit, and no waiting mends it.

    The message is one line that names DATABASE_URL, and never holds a password. A service that is starting ends with
    it; one that runs answers 503, since the change of the database may be reverted.
    """


MISTAKES: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.ClientConfigurationError,
    asyncpg.UnsupportedServerFeatureError,
    ssl.SSLCertVerificationError,
)


def misconfiguration(error: BaseException) -> DatabaseMisconfigured | None:
    """The mistake behind an error of connecting or migrating; None when waiting may mend it."""
    if isinstance(error, DatabaseMisconfigured):
        return error
    if not isinstance(error, MISTAKES):
        return None
    said = " ".join(str(error).split())
    match error:
        case asyncpg.InsufficientPrivilegeError() if "schema" in said:
            said = f"{said}: {GRANT_CREATE}"
        case asyncpg.InvalidSchemaNameError():
            said = f"{said}: the search_path of the role or database names no schema that is there"
    return DatabaseMisconfigured(f"DATABASE_URL: {said}")


# What a server that was there no longer is: it may have carried out the last statement, or not.
LOST: Final = (
    DatabaseUnavailable,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# What only an absent database raises: asyncpg's own errors are what it says of a connection that was lost meanwhile.
# A conflict of transactions has been repeated several times before it is seen here.
AWAY: Final = (
    *LOST,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# What it looks like when the database is away, starting, stopping, replaced, or short of something.
OUTAGES: Final = (
    *AWAY,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
