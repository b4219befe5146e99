"""The frameworks whose own tests are run: pinned versions, and what those tests need."""
# ruff: noqa: INP001  # no package

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One framework.

    Attributes:
        name: Its name on PyPI.
        version: The release whose sdist is unpacked for its tests.
        extra: The extra of ours that it needs.
        plugin: The module here that puts SafetyMiddleware into the apps of its tests.
        requires: What its tests need besides, as pip takes it.
        modes: The modes besides the baseline.
        arguments: For pytest, in every mode.
        observed: More of them where everything is protected.
    """

    name: str
    version: str
    extra: str
    plugin: str
    requires: tuple[str, ...]
    modes: tuple[str, ...] = ("unprotected", "observed")
    arguments: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()


NOT_TRIO = ("-k", "not trio")
"""A protected route needs asyncio."""

TARGETS = {
    target.name: target
    for target in (
        Target(
            name="starlette",
            version="1.10.0",
            extra="starlette",
            plugin="starlette_plugin",
            requires=(
                "starlette[full]==1.10.0",
                "blockbuster>=1.5.23",
                "httpx2[zstd]>=2",
                "importlib-metadata>=9",
                "opentelemetry-sdk>=1.44",
                "pytest-codspeed>=4.1",
                "pytest>=9.1.1,<10",
                "trio>=0.34",
            ),
            observed=NOT_TRIO,
        ),
        Target(
            name="flask",
            version="3.1.3",
            extra="flask",
            plugin="flask_plugin",
            requires=(
                "flask==3.1.3",
                "werkzeug==3.1.9",
                "asgiref>=3.2",
                "greenlet",
                "pytest>=9,<9.1",  # test_cli.py imports what 9.1 has not
                "python-dotenv",
            ),
        ),
        Target(
            name="fastapi",
            version="0.165.0",
            extra="starlette",
            plugin="starlette_plugin",
            requires=(
                "fastapi[all]==0.165.0",
                "starlette==1.10.0",
                "a2wsgi>=1.9,<=2",
                "anyio[trio]",
                "coverage[toml]>=7.13,<8",
                "dirty-equals>=0.9",
                "flask>=3,<4",
                "httpx2>=2",
                "inline-snapshot>=0.21.1",
                "logfire>=5.1",
                "opentelemetry-exporter-otlp-proto-http>=1.44",
                "opentelemetry-instrumentation-fastapi>=0.65b0",
                "opentelemetry-sdk>=1.44",
                "pwdlib[argon2]>=0.2.1",
                "pyjwt>=2.9",
                "pytest-codspeed>=4.3",
                "pytest-timeout>=2.4",
                "pytest-xdist>=3",  # for its marker
                "pytest>=9,<9.2",
                "python-slugify>=8.0.4",
                "pyyaml>=5.3.1,<7",
                "sentry-sdk>=2.70",
                "sqlmodel>=0.0.31",
                "strawberry-graphql>=0.200,<1",
                "typer>=0.26.1",
            ),
            # the one uses trio under another name; in the others reading the body is a failure
            observed=(
                *NOT_TRIO[:1],
                f"{NOT_TRIO[1]} and not test_app_can_be_reused and not test_cleanup_after_later",
            ),
        ),
        Target(
            name="werkzeug",
            version="3.1.9",
            extra="flask",
            plugin="werkzeug_plugin",
            requires=(
                "werkzeug==3.1.9",
                "cffi",
                "cryptography",
                "ephemeral-port-reserve",
                "pytest-timeout",
                "pytest>=9,<10",
                "watchdog",
            ),
            modes=("unprotected",),
            # they serve from processes of their own, which the plugin does not reach
            arguments=("-m", "not dev_server"),
        ),
    )
}
