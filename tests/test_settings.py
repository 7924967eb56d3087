"""Settings: read once, all mistakes at once, and no secret in any text."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from reportsim.core.callback_policy.targets import Refusal
from reportsim.core.callback_policy.urls import check_url
from reportsim.settings import Settings, SettingsError


def read(**environ: str) -> Settings:
    return Settings.from_environment(environ)


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    return str(caught.value).split("\n")


def test_without_an_environment_the_defaults_hold() -> None:
    settings = read()
    assert settings == Settings()
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.workers >= 4
    assert (settings.sync_rate, settings.async_rate) == (30, 60)
    assert (settings.callback_waits, settings.callback_attempts) == ((2.0, 4.0, 8.0), 3)
    assert settings.callback_jitter == 0
    assert (settings.lease_s, settings.sync_timeout, settings.shutdown_grace_s) == (30.0, 30.0, 10.0)
    assert (settings.retention_hours, settings.reports_max_mb) == (168, 2048)
    assert settings.reports_dir == settings.data_dir / "reports"


def test_other_variables_are_none_of_our_business() -> None:
    assert read(PATH="/bin", HOME="/", REPORTSI="x", reportsim_port="1") == Settings()


def test_everything_can_be_set() -> None:
    settings = read(
        DATABASE_URL="postgresql://host/db",
        DEBUG="yes",
        REPORTSIM_HOST="0.0.0.0",
        REPORTSIM_PORT="0",
        REPORTSIM_DATA_DIR="/var/lib/reportsim",
        REPORTSIM_WORKERS="7",
        REPORTSIM_LEASE_S="1.5",
        REPORTSIM_CALLBACK_WAITS="0.5, 1,2",
        REPORTSIM_CALLBACK_JITTER="0.2",
        REPORTSIM_CALLBACK_ALLOW="127.0.0.0/8, 10.0.0.0/8",
        REPORTSIM_WEBHOOK_SECRET="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        REPORTSIM_TRUSTED_PROXIES="10.0.0.0/8,::1",
        REPORTSIM_PUBLIC_URL="https://reports.example.org/",
        REPORTSIM_ALLOWED_HOSTS="a.example.org, b.example.org",
        REPORTSIM_CSV_GUARD="0",
    )
    assert settings.database_url == "postgresql://host/db"
    assert settings.debug is True
    assert (settings.host, settings.port) == ("0.0.0.0", 0)
    assert settings.data_dir == Path("/var/lib/reportsim")
    assert (settings.workers, settings.lease_s) == (7, 1.5)
    assert (settings.callback_waits, settings.callback_jitter) == ((0.5, 1.0, 2.0), 0.2)
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.public_url == "https://reports.example.org"
    assert settings.allowed_hosts == ("a.example.org", "b.example.org")
    assert settings.csv_guard is False


def test_all_mistakes_are_named_at_once() -> None:
    found = mistakes(
        REPORTSIM_PORT="70000",
        REPORTSIM_WORKERS="many",
        REPORTSIM_LEASE_S="nan",
        REPORTSIM_CALLBACK_ALLOW="10.0.0.0/99",
        REPORTSIM_PROT="80",
    )
    assert [line.partition("=")[0].partition(":")[0] for line in found] == [
        "REPORTSIM_PORT",
        "REPORTSIM_WORKERS",
        "REPORTSIM_LEASE_S",
        "REPORTSIM_CALLBACK_ALLOW",
        "REPORTSIM_PROT",
    ]


def test_a_misspelt_name_is_a_mistake() -> None:
    assert mistakes(REPORTSIM_PROT="80") == ["REPORTSIM_PROT: there is no such setting"]
    assert read(REPORTSIM_TEST_DATABASE_URL="postgresql://x") == Settings()


@pytest.mark.parametrize(
    ("env", "text"),
    [
        *(("REPORTSIM_PORT", text) for text in ("-1", "65536", "8080.0", "٨٠٨٠", "0x50", "")),
        *(("REPORTSIM_WORKERS", text) for text in ("0", "257", "-4")),
        *(("REPORTSIM_LEASE_S", text) for text in ("0", "inf", "nan", "3601", "soon")),
        *(("REPORTSIM_CALLBACK_WAITS", text) for text in ("2,,4", "-1", "nan", "2;4", "", "86401")),
        *(("REPORTSIM_CALLBACK_ATTEMPTS", text) for text in ("0", "101")),
        *(("REPORTSIM_CALLBACK_JITTER", text) for text in ("-0.1", "1.1", "nan", "10%", "")),
        *(("REPORTSIM_TRUSTED_PROXIES", text) for text in ("10.0.0.1/8", "proxy", "10.0.0.0/8,x")),
        *(("REPORTSIM_PUBLIC_URL", text) for text in ("reports", "ftp://x", "https://x/y", "https://u@x", "https://")),
        *(("REPORTSIM_RETENTION_HOURS", text) for text in ("23", "0")),
        *(("DEBUG", text) for text in ("maybe", "2")),
        ("REPORTSIM_WEBHOOK_SECRET", "secret"),
        ("REPORTSIM_WEBHOOK_SECRET", "whsec_c2hvcnQ="),
        ("REPORTSIM_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz,whsec_?"),
    ],
)
def test_a_value_that_cannot_be_used_is_a_mistake(env: str, text: str) -> None:
    [line] = mistakes(**{env: text})
    assert line.startswith(env)


@pytest.mark.parametrize("env", ["DATABASE_URL", "REPORTSIM_PUBLIC_URL", "REPORTSIM_TRUSTED_PROXIES", "DEBUG"])
def test_an_empty_variable_is_one_that_is_not_set(env: str) -> None:
    assert read(**{env: ""}) == Settings()


@pytest.mark.parametrize(("text", "flag"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("No", False)])
def test_yes_and_no_have_their_usual_names(text: str, flag: bool) -> None:
    assert read(DEBUG=text).debug is flag


@pytest.mark.parametrize(
    ("env", "text", "secret"),
    [
        ("DATABASE_URL", "postgresql://user:hunter2@host/db", "hunter2"),
        ("REPORTSIM_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "MDEyMzQ1"),
    ],
)
def test_secrets_are_not_in_the_text_of_the_settings(env: str, text: str, secret: str) -> None:
    assert secret not in repr(read(**{env: text}))


def test_a_secret_that_cannot_be_used_is_not_repeated() -> None:
    [line] = mistakes(REPORTSIM_WEBHOOK_SECRET="whsec_hunter2hunter2")
    assert "hunter2" not in line


def test_nobody_changes_settings_later() -> None:
    settings: Any = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1


def test_every_setting_says_what_it_is() -> None:
    for item in dataclasses.fields(Settings):
        assert item.metadata["env"] in {"DATABASE_URL", "DEBUG"} or item.metadata["env"].startswith("REPORTSIM_")
        assert item.metadata["about"]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, "make run"),
        ({"REPORTSIM_PORT": "9000"}, "make run PORT=9000"),
        ({"REPORTSIM_PORT": "9000", "REPORTSIM_HOST": "::"}, "make run PORT=9000 REPORTSIM_HOST=::"),
    ],
)
def test_hints_name_the_command_that_starts_this_very_service(given: dict[str, str], command: str) -> None:
    settings = read(**given)
    assert settings.start_command == command
    for url in ("http://10.0.0.1/", "http://localhost/"):
        refusal = check_url(url, settings.callback_policy)
        assert isinstance(refusal, Refusal)
        assert re.search(rf"REPORTSIM_CALLBACK_ALLOW=\S+ {re.escape(command)}\.", refusal.detail)
