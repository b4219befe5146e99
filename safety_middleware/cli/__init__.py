"""``safety-middleware``: the operator's commands."""

from __future__ import annotations

import click

from ._explain import explain
from ._records import records
from ._settings import check_config
from ._standing import lift, standing, suspend

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="safety-middleware", message="%(version)s")
def main() -> None:
    """See how an app is guarded and what was decided; suspend those who misuse it."""


main.add_command(check_config)
main.add_command(records)
main.add_command(explain)
main.add_command(standing)
main.add_command(suspend)
main.add_command(lift)
