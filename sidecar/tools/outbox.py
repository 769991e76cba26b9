"""`session-sidecar outbox`: what is still owed to the session service, and what turned out to be unpayable."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service_kit.printable import printable
from sidecar.guard.ports import DebtNotWritten
from sidecar.outbox.journal import Entry, Journal
from sidecar.settings import load_settings
from sidecar.tools.tool import Failed, Tool


@click.command(cls=Tool)
def outbox() -> None:
    """List the sessions still owed to the session service, and conflicts found when paying."""
    path = load_settings().outbox
    # Through a pipe nothing is folded: a line for each session, for grep.
    console = Console(width=None if sys.stdout.isatty() else 2000)
    if not path.exists():
        console.print(f"nothing is owed: there is no {path}", soft_wrap=True)
        return
    try:
        journal = Journal(path)
        owed, conflicts = journal.together([Journal.debts, Journal.conflicts])
        journal.close()
    except DebtNotWritten as error:
        raise Failed(str(error), code=1) from None
    _show(console, "Owed to the session service", owed)
    _show(console, "Could not be paid", conflicts)


def _show(console: Console, title: str, entries: list[Entry]) -> None:
    if not entries:
        console.print(f"{title}: none")
        return
    table = Table(title=f"{title}: {len(entries)}", title_justify="left")
    for column in ("session", "user", "owed since", "why"):
        # Ids are there to be copied, so they are never cut.
        table.add_column(column, overflow="fold")
    for entry in entries:
        session = "/".join((*entry.reference.scope, entry.reference.session_id))
        cells = (session, entry.reference.user_id or "", entry.owed_at, _why(entry))
        # As text, because an id may look like a style or an emoji to rich.
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(table)


def _why(entry: Entry) -> str:
    meanings = {None: "", "conflict": "belongs to another user", "gone": "was deleted"}
    return meanings.get(entry.outcome, f"set aside: {entry.outcome}")
