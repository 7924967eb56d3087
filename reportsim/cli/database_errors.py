"""What to do about what PostgreSQL refuses."""

import asyncpg

# What PostgreSQL refuses a connection or a migration for, and what helps; the first that fits.
ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (asyncpg.InvalidAuthorizationSpecificationError, "check its user and password"),
    (asyncpg.InvalidCatalogNameError, "create that database (createdb), or name another"),
    (
        asyncpg.InsufficientPrivilegeError,
        "its user needs to connect and to create tables: "
        "GRANT CREATE, USAGE ON SCHEMA public TO the user, or make the user owner of the database",
    ),
    (
        asyncpg.InvalidSchemaNameError,
        "the search_path of its user or database names no schema that exists: "
        "ALTER ROLE the user SET search_path = public, or CREATE SCHEMA",
    ),
    (asyncpg.ReadOnlySQLTransactionError, "it is read-only: name the primary server"),
    (asyncpg.PostgresSyntaxError, "the server must be PostgreSQL 15 or newer"),
)


def database_refusal(error: Exception) -> str:
    """One line for an error of the database that no waiting mends, with the way out."""
    said = " ".join(str(error).split()) or type(error).__name__
    advice = next((text for kind, text in ADVICE if isinstance(error, kind)), None)
    return f"DATABASE_URL: {said}" + (f": {advice}" if advice else "")
