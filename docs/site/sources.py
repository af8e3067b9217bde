"""Makes pages of the source files that the documentation links to, so that no link leads out of the site.

And lets long names in tables break where a reader would, and pictures be opened alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
LINK: Final = re.compile(r"\]\((?!\w+:)([^)\s#]+)(#[^)\s]*)?\)")
# the front matter of a page that the search does not find
UNSEARCHED: Final = "---\nsearch:\n  exclude: true\n---\n"
TABLE: Final = re.compile(r"<table>.*?</table>", re.DOTALL)
CODE: Final = re.compile(r"<code>([^<]{25,})</code>")
PICTURE: Final = re.compile(r'(<img [^>]*src="([^"]+\.(?:svg|png))"[^>]*>)')
LANGUAGES: Final = {
    ".conf": "ini",
    ".html": "html",
    ".php": "php",
    ".py": "python",
    ".template": "nginx",
    ".yaml": "yaml",
}

# the page of a source file -> that file; links of a page that is a directory's are relative to the directory
_origins: dict[str, Path] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each source file that a page, or such a page, links to."""
    _origins.clear()
    todo = [DOCS / file.src_uri for file in files.documentation_pages()]
    while todo:
        page = todo.pop()
        for found in LINK.finditer(_text(page)):
            source = _source(page, found[1])
            if source is None or _uri(source) in _origins:
                continue
            _origins[_uri(source)] = source
            generated = File.generated(config, _uri(source), content=UNSEARCHED + _text(source))
            generated.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(generated)
            if source.suffix in ("", ".md"):
                todo.append(source)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to source files at their pages."""
    here = page.file.src_uri
    origin = _origins.get(here, DOCS / here)
    folder = os.path.dirname(here) or "."

    def point(found: re.Match[str]) -> str:
        source = _source(origin, found[1])
        if source is not None:
            uri = _uri(source)
        elif here in _origins:
            uri = os.path.relpath(_target(origin, found[1]), DOCS)
        else:
            return found[0]
        return f"]({os.path.relpath(uri, folder)}{found[2] or ''})"

    return LINK.sub(point, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Allow a line to end within a path or a name in a table; make each picture a link to itself."""

    def breakable(found: re.Match[str]) -> str:
        return "<code>" + re.sub(r"(/|::|_)(?=[a-z])", r"\1<wbr>", found[1]) + "</code>"

    def table(found: re.Match[str]) -> str:
        return CODE.sub(breakable, found[0])

    return PICTURE.sub(r'<a href="\2">\1</a>', TABLE.sub(table, html))


def _source(page: Path, link: str) -> Path | None:
    """Return the source file that a link of a page leads to; None where it leads to what the site has."""
    target = _target(page, link)
    if target.is_relative_to(DOCS) and target.suffix not in LANGUAGES:
        return None
    return target if target.exists() and target.is_relative_to(ROOT) else None


def _target(page: Path, link: str) -> Path:
    return ((page if page.is_dir() else page.parent) / link).resolve()


def _uri(source: Path) -> str:
    path = source.relative_to(ROOT).as_posix()
    if source.is_dir():
        path += "/index"
    return f"source/{path.removesuffix('.md')}.md"


def _text(source: Path) -> str:
    if source.suffix == ".md":
        return source.read_text()
    title = f"# {source.relative_to(ROOT)}\n\n"
    if source.is_dir():
        names = sorted(path.name for path in source.iterdir() if path.name[0] not in "._")
        return title + "".join(f"- [{name}]({name})\n" for name in names)
    return f"{title}`````{LANGUAGES.get(source.suffix, 'text')}\n{source.read_text()}`````\n"
