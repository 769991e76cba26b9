"""A progress bar for steps that take long, on a terminal only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

_SHORT: Final = 1.0


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows how far a step is: its name, what is done and how much there is in all.

    The bar appears after a second; most steps end before.
    """
    from rich.console import Console  # noqa: PLC0415 -- for those who migrate only
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as ending:
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        started = time.monotonic()
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if time.monotonic() - started < _SHORT:
                return
            if not tasks:
                ending.enter_context(bar)
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show
