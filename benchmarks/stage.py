"""Everything that stands still while contenders come and go, and the place where they are started, one at a time."""

from __future__ import annotations

import contextlib
import re
import string
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, wire
from benchmarks.lineup import Contender
from benchmarks.processes import CONTENDER_CORE, FIXED_CORE, Pinned, free_port

TEMPLATES = machine.BENCHMARKS / "contenders"
PYTHONPATH = {"PYTHONPATH": str(machine.ROOT)}
"""For what imports from benchmarks/. A sidecar goes without: it would find its sources before its own wheel."""

PORTS = ("port", "admin", "helper", "spare", "spare_admin")


class Words(string.Template):
    """A template with @{words}, since dollars mean something to nginx."""

    delimiter = "@"


@dataclass(frozen=True, slots=True)
class Running:
    """A contender that answers on `port`; the direct connection has no process of its own."""

    contender: Contender
    port: int
    admin: int
    folder: Path
    processes: tuple[Pinned, ...] = ()
    start_up_seconds: float = 0.0

    def cpu_seconds(self) -> float:
        return sum(each.cpu_seconds() for each in self.processes)

    def resident_bytes(self) -> int:
        return sum(each.resident_bytes() for each in self.processes)


@dataclass(frozen=True, slots=True)
class Stage:
    """The upstream and the session stub are up on these ports, on the core that the generator shares with them."""

    folder: Path
    words: Mapping[str, str]
    upstream: int
    session_service: int

    def missing(self, contender: Contender) -> str:
        """Why the contender cannot run here; empty where it can."""
        absent = [word for word in contender.needs if word not in self.words]
        return f"not installed: {', '.join(absent)}" if absent else ""

    def write(self, template: wire.Template, port: int) -> Path:
        """Put a request template where the generator that loads `port` can read it."""
        path = self.folder / f"request-to-{port}.txt"
        path.write_text(template.text)
        return path

    @contextlib.contextmanager
    def running(
        self,
        contender: Contender,
        env: Mapping[str, str] | None = None,
        *,
        core: int = CONTENDER_CORE,
        port: int | None = None,
    ) -> Iterator[Running]:
        """Start a contender on its core, wait until it answers, and stop it afterwards. Raises Failed.

        `port` is one that sidecars share. The admin address says that this one is ready too.
        """
        if not contender.argv:
            yield Running(contender, self.upstream, 0, self.folder)
            return
        ports = {name: free_port() for name in PORTS}
        ports["port"] = port or ports["port"]
        with tempfile.TemporaryDirectory(dir=self.folder) as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            words = {**self._words(), **{key: str(port) for key, port in ports.items()}, "folder": name}
            _render(contender.files, folder, words)
            if contender.shipped:
                _ship(contender.shipped, folder, words)
            path = {} if contender.is_sidecar else PYTHONPATH
            environment = {**path, **_fill_all(contender.env, words), **(env or {})}
            processes = []
            if contender.helper:
                helper = Pinned("helper", _fill(contender.helper, words), core, folder, environment)
                stack.callback(helper.stop)
                helper.wait_until_answering(ports["helper"], contender.helper_answers)
                processes.append(helper)
            process = Pinned(contender.name, _fill(contender.argv, words), core, folder, environment)
            stack.callback(process.stop)
            seconds = process.wait_until_answering(ports["port"])
            if contender.is_sidecar:
                process.wait_until_answering(ports["admin"], "/readyz")
            yield Running(contender, ports["port"], ports["admin"], folder, (*processes, process), seconds)

    def _words(self) -> dict[str, str]:
        return {**self.words, "upstream": str(self.upstream), "session_service": str(self.session_service)}


@contextlib.contextmanager
def standing(words: Mapping[str, str]) -> Iterator[Stage]:
    """Bring up the upstream and the session stub, and take them down afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "download").mkdir()
        (folder / "download/large").write_bytes(b"x" * wire.DOWNLOAD_BYTES)
        upstream, session_service = free_port(), free_port()
        _render(("upstream.conf", "nginx-common.conf"), folder, {"port": str(upstream), "folder": name})
        starts = {
            "upstream": ([words["nginx"], "-e", "stderr", "-p", name, "-c", "upstream.conf"], upstream),
            "session stub": ([words["python"], "-m", "benchmarks.session_stub", str(session_service)], session_service),
        }
        for title, (argv, port) in starts.items():
            process = Pinned(title, argv, FIXED_CORE, folder, PYTHONPATH)
            stack.callback(process.stop)
            process.wait_until_answering(port)
        yield Stage(folder, words, upstream, session_service)


def _ship(name: str, folder: Path, words: Mapping[str, str]) -> None:
    """Copy a file of deploy/, with the ports of this run in the place of the shipped ones."""
    ports = {"8080": "port", "18080": "upstream", "9903": "helper", "9902": "spare_admin"}
    written = r"(?<=127\.0\.0\.1:)[0-9]+|(?<=port_value: )[0-9]+"
    text = re.sub(written, lambda port: words[ports[port[0]]], (machine.ROOT / "deploy" / name).read_text())
    (folder / Path(name).name).write_text(text)


def _render(files: tuple[str, ...], folder: Path, words: Mapping[str, str]) -> None:
    for name in files:
        (folder / name).write_text(Words((TEMPLATES / name).read_text()).substitute(words))


def _fill(argv: tuple[str, ...], words: Mapping[str, str]) -> list[str]:
    return [Words(each).substitute(words) for each in argv]


def _fill_all(env: Mapping[str, str], words: Mapping[str, str]) -> dict[str, str]:
    return {name: Words(value).substitute(words) for name, value in env.items()}
