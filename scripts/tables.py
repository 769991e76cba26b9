"""Writes what the code knows into the tables of docs/: settings, statuses of refusals, metrics, the runbook.

A row is found by the name in its first cell and keeps the cells that only a person can write. With `--check` it writes
nothing and exits with 1 if a table is out of date. A name without a row, or a row without a name, is always an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings

import memory_service.settings
import session_service.settings
from service_kit.settings import variables
from sidecar.admin.effective_settings import effective
from sidecar.doors.refusal import STATUS
from sidecar.observability.catalog import CATALOG, Described
from sidecar.observability.remedies import REMEDIES
from sidecar.settings import Settings

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = {
    name: next((ROOT / "docs").rglob(f"{name}.md"))
    for name in ("configuration", "consul", "refusals", "metrics", "operating", "benchmark-results")
} | {"README": ROOT / "README.md"}
NO_STATUS: Final = "–"
CELL: Final = re.compile(r"(?<!\\)\|")

Cells = list[str]


def rows(text: str) -> Iterator[tuple[int, Cells]]:
    """Line number and cells of each row of a Markdown table whose first cell names something in code type."""
    for number, line in enumerate(text.splitlines()):
        if line.startswith("| `"):
            yield number, [cell.strip() for cell in CELL.split(line)[1:-1]]


def names(cell: str) -> list[str]:
    """What a first cell names."""
    return re.findall(r"`([^`]+)`", cell)


def rewrite(page: str, fill: Callable[[list[str], Cells], Cells]) -> str:
    """The page with each row's cells as `fill` gives them."""
    text = PAGES[page].read_text()
    lines = text.splitlines()
    for number, cells in rows(text):
        lines[number] = f"| {' | '.join(fill(names(cells[0]), cells))} |".replace("|  |", "| |")
    return "\n".join(lines) + "\n"


def named(page: str) -> set[str]:
    """Every name that has a row on the page."""
    return {name for _, cells in rows(PAGES[page].read_text()) for name in names(cells[0])}


# Settings ------------------------------------------------------------------------------------------------------------


def defaults() -> dict[str, str | None]:
    """Each variable with its default as a person writes it; None where the default is to be without one."""
    found: dict[str, str | None] = {}
    for kind in (Settings, session_service.settings.Settings, memory_service.settings.Settings):
        for field, about in kind.model_fields.items():
            for name in variables(kind, field):
                found.setdefault(name, _default(kind, field, about.default))
    return found


def _default(kind: type[BaseSettings], field: str, default: Any) -> str | None:
    if default is None or default == () or isinstance(default, SecretStr):
        return None
    if kind is Settings:
        # A fresh environment, so that only defaults are in effect.
        return dict(effective(PRISTINE))[variables(kind, field)[0]]
    return str(default)


def _pristine() -> Settings:
    kept = dict(os.environ)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as empty:
        try:
            os.environ.clear()
            os.chdir(empty)
            return Settings()
        finally:
            os.environ.update(kept)
            os.chdir(before)


PRISTINE: Final = _pristine()


def settings_row(known: Mapping[str, str | None]) -> Callable[[list[str], Cells], Cells]:
    """A row of the settings page: the second cell has the defaults, unless a person has to say what they mean."""

    def fill(variables_of_row: list[str], cells: Cells) -> Cells:
        values = [known.get(name) for name in variables_of_row]
        if all(value is not None for value in values) and cells[1].startswith("`") and cells[1].endswith("`"):
            distinct = list(dict.fromkeys(values)) if len(set(values)) == 1 else values
            cells[1] = ", ".join(f"`{value}`" for value in distinct)
        return cells

    return fill


# Refusals ------------------------------------------------------------------------------------------------------------


def refusal_row(reasons: list[str], cells: Cells) -> Cells:
    """A row of the refusals page: the second cell has the status."""
    statuses = {STATUS[reason] for reason in STATUS if reason.value in reasons}
    if len(statuses) == 1 and cells[1] != NO_STATUS:
        cells[1] = str(statuses.pop())
    return cells


# Metrics -------------------------------------------------------------------------------------------------------------


def exported() -> dict[str, tuple[str, str]]:
    """Type and help text of each metric that a running sidecar publishes."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        free = {"SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_ADMIN": "127.0.0.1:0", "SIDECAR_ON_OUTAGE": "forward"}
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "serve"],
            env=kept | free | {"PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready = next(line for line in process.stdout if line.startswith("ready "))
            return _families(ready.split("admin=")[1].split()[0])
        finally:
            process.terminate()
            process.communicate()


def _families(admin: str) -> dict[str, tuple[str, str]]:
    import httpx

    text = httpx.get(f"http://{admin}/metrics", trust_env=False, timeout=30).text
    help_texts = dict(re.findall(r"^# HELP (sidecar_\w+) (.*)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (sidecar_\w+) (\w+)$", text, re.MULTILINE))
    return {name: (types[name], help_texts[name]) for name in types if not name.endswith("_created")}


def replace_rows(page: str, header: str, new_rows: Iterable[Cells]) -> str:
    """The page with all rows of the table that begins with this header line replaced."""
    lines = PAGES[page].read_text().splitlines()
    first = lines.index(header) + 2
    last = next(number for number in range(first, len(lines) + 1) if not "".join(lines[number : number + 1]).strip())
    lines[first:last] = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in new_rows]
    return "\n".join(lines) + "\n"


SUFFIXES: Final = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}


def published(metric: Described) -> str:
    """The name of the metric in the text format of Prometheus."""
    return metric.name + SUFFIXES[metric.type]


def metrics_table() -> Iterator[Cells]:
    """A row for each metric of the catalog; the last cell is a person's."""
    written = {names(cells[0])[0]: cells[-1] for _, cells in rows(PAGES["metrics"].read_text())}
    for metric in CATALOG.values():
        kind = "gauge" if metric.type == "info" else metric.type
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield [f"`{published(metric)}`", kind, labels, metric.help, written.get(published(metric), "")]


# The runbook ----------------------------------------------------------------------------------------------------------


def remedies_table() -> Iterator[Cells]:
    """A row for each kind of problem, with the sentences of the dashboard; what to look at is a person's."""
    found = {names(cells[0])[0]: cells for _, cells in rows(PAGES["operating"].read_text())}
    for kind, remedy in REMEDIES.items():
        looked_at = found[kind][2] if kind in found else ""
        yield [f"`{kind}`", remedy.means, looked_at, remedy.do]


# The README's comparison ----------------------------------------------------------------------------------------------

CONTENDERS: Final = {
    "**session sidecar**": "sidecar",
    "nginx + Lua": "nginx + Lua",
    "Envoy `ext_authz`": "Envoy ext_authz",
    "nginx `auth_request`": "nginx auth_request",
    "Starlette + httpx": "Starlette + httpx",
}
"""How a row of the README's table begins, and the contender's name in the benchmark's results."""


def compared(readme: str, results: str) -> str:
    """The README with the last column of its comparison as the published results have it, to two or three digits."""
    known = results.partition("## Known session, small JSON write")[2].partition("\n## ")[0]
    rates = {
        name.strip(): int(rate.replace(",", ""))
        for name, rate in re.findall(r"^\| ([^|]+)\| ([\d,]+) ±", known, re.MULTILINE)
    }
    lines = readme.splitlines()
    for number, line in enumerate(lines):
        for begins, contender in CONTENDERS.items():
            if line.startswith(f"| {begins}"):
                lines[number] = re.sub(
                    r"[\d,]+ \|$", f"{round(rates[contender], -2 if rates[contender] > 1000 else -1):,} |", line
                )
    return "\n".join(lines) + "\n"


# -------------------------------------------------------------------------------------------------------------------


def generate() -> tuple[dict[str, str], list[str]]:
    """The pages as they should be, and what no table can be made to say: names without a row, rows without a name."""
    known, metrics = defaults(), exported()
    pages = {
        "configuration": rewrite("configuration", settings_row(known)),
        "refusals": rewrite("refusals", refusal_row),
        "metrics": replace_rows(
            "metrics", "| metric | type | labels | meaning | what a change in it means |", metrics_table()
        ),
        "operating": replace_rows("operating", "| kind | means | look at | do |", remedies_table()),
        "README": compared(PAGES["README"].read_text(), PAGES["benchmark-results"].read_text()),
    }
    reasons = {reason.value for reason in STATUS}
    shown = named("configuration") | named("consul")
    unfinished = [cells[0] for name in ("metrics", "operating") for _, cells in rows(pages[name]) if "" in cells[3:]]
    in_catalog = {published(metric) for metric in CATALOG.values()}
    alike = {name for name in named("configuration") if name.isupper()}
    problems = [
        *(f"{name} has no row in docs/operators/configuration.md" for name in sorted(set(known) - shown)),
        *(f"{name} in docs/operators/configuration.md is no setting" for name in sorted(alike - set(known))),
        *(f"{name} has no row in docs/users/refusals.md" for name in sorted(reasons - named("refusals"))),
        *(f"the row of {name} in docs/ has an empty cell that a person writes" for name in unfinished),
        *(f"{name} is exported and not in the catalog" for name in sorted(set(metrics) - in_catalog)),
        *(f"{name} is in the catalog and not exported" for name in sorted(in_catalog - set(metrics))),
    ]
    return pages, problems


def main() -> int:
    """Write the pages, or with `--check` only compare them."""
    pages, problems = generate()
    for name, text in pages.items():
        if PAGES[name].read_text() == text:
            continue
        if "--check" in sys.argv[1:]:
            problems.append(f"a table in {PAGES[name].relative_to(ROOT)} is out of date: run scripts/docs")
        else:
            PAGES[name].write_text(text)
    for problem in problems:
        print(f"docs: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
