"""The documentation site builds strictly without the network, and no link of it leads nowhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.support.built import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
OUTSIDE_THE_SITE = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md")
]
LINK = re.compile(r"""(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)\"""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy in which every path to the network is closed."""
    copy = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", copy / "docs")
    shutil.copy(ROOT / "mkdocs.yml", copy)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    built = subprocess.run(
        [ROOT / ".venv/bin/zensical", "build", "--strict", "--clean"],
        cwd=copy,
        env={"PATH": "/usr/bin:/bin", "HOME": str(copy), **nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stdout + built.stderr
    return copy / "site"


class Page(HTMLParser):
    """The links, the loaded resources and the anchors of one built page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and (target := given.get("href")):
            self.links.append(target)
        if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload"} and (target := given.get("href")):
            self.loaded.append(target)
        if tag in {"img", "script", "iframe", "source"} and (target := given.get("src")):
            self.loaded.append(target)


def test_it_builds_strictly_and_without_the_network(site: Path) -> None:
    assert {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in PAGES} <= {
        page.relative_to(site).as_posix() for page in site.rglob("*.html")
    }


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """It can be read from a disk: fonts, scripts and styles are its own."""
    foreign = {
        (page.name, target)
        for page in site.rglob("*.html")
        for target in Page(page).loaded
        if urlsplit(target).scheme in {"http", "https"} or target.startswith("//")
    }
    assert foreign == set()


def test_no_link_of_the_site_leads_nowhere(site: Path) -> None:
    """Every relative link has its file, every fragment its anchor, every resource is there."""
    pages = {page: Page(page) for page in site.rglob("*.html") if page.name != "404.html"}
    wrong = [
        f"{page.relative_to(site)}: {target}"
        for page, parsed in pages.items()
        for target in (*parsed.links, *parsed.loaded)
        if not resolves(page, target, pages)
    ]
    assert wrong == []


def resolves(page: Path, target: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme or target.startswith("//") or target in {"", "#", "."}:
        return True
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if file.is_dir():
        file = file / "index.html"
    if not file.is_file():
        return False
    return not parts.fragment or file not in pages or parts.fragment in pages[file].anchors | {"__skip", "__toc"}


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for groups in LINK.findall(re.sub(r"`[^`\n]*`", "", text)):
        yield next(group for group in groups if group)


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE_THE_SITE], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_of_a_page_leads_nowhere_in_the_repository(page: Path) -> None:
    """As a forge shows the files: a link to another page, a picture or a file must find it."""
    missing = [
        target
        for target in links(page)
        if not urlsplit(target).scheme
        and (path := urlsplit(target).path)
        and not (page.parent / unquote(path)).exists()
    ]
    assert missing == []


def test_the_navigation_has_every_page_once() -> None:
    """A new page goes into `nav` of mkdocs.yml, on the shelf of those who need it."""
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = re.findall(r"[\w/-]+\.md", str(nav))
    assert sorted(listed) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in PAGES)


def test_no_file_names_an_address_of_the_project_that_does_not_exist() -> None:
    """The project is published nowhere yet, so a link to its repository or site leads nowhere."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    address = re.compile(rb"//(?:github\.com/session-sidecar|session-sidecar\.(?:github\.io|readthedocs\.io))")
    files = [ROOT / name for name in listed.split("\0") if name]
    assert [file for file in files if file.is_file() and address.search(file.read_bytes())] == []
