"""The pages of a site, found by following its links."""

from __future__ import annotations

import re
from collections import deque
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from tests.apps.application import Application
from tests.apps.visitor import Visitor

__all__ = ("crawl", "fields")

_IN_CSS = re.compile(r"url\(\s*['\"]?([^'\")]+)")
_FILE = re.compile(r"\.(?:css|js|png|gif|svg|jpe?g|ico|woff2?|ttf|map|json|txt)$")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inputs: dict[str, str] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        for name in ("href", "src"):
            if value := values.get(name):
                self.found.append(value)
        if tag == "input" and values.get("name") and values.get("type") != "submit":
            self.inputs.setdefault(values["name"] or "", values.get("value") or "")


def fields(html: str, form: str = "") -> dict[str, str]:
    """Return the inputs of a page with their values, or of the form whose tag contains `form`."""
    links = _Links()
    forms = [part for part in re.split(r"(?=<form\b)", html) if form in part.split(">", 1)[0]]
    links.feed(forms[0].split("</form")[0] if form else html)
    return links.inputs


def crawl(site: Application, client: Visitor, *, pages: int, files: int) -> list[str]:
    """Return the targets of a site in the order in which they were found.

    Args:
        site: its start, and what is avoided.
        client: asks for them.
        pages: how many targets at most that are no files by their name.
        files: how many files at most.
    """
    waiting, seen, found = deque(site.begin()), set(site.begin()), list[str]()
    left = {False: pages, True: files}
    while waiting and any(left.values()):
        target = waiting.popleft()
        is_file = bool(_FILE.search(target.partition("?")[0]))
        if not left[is_file]:
            continue
        left[is_file] -= 1
        response = client.get(target)
        found.append(target)
        for link in _links(response.headers.get("content-type", ""), response.text, response.headers.get("location")):
            url = urlsplit(urljoin(f"{site.url}{target}", link))
            next_one = (url.path or "/") + (f"?{url.query}" if url.query else "")
            inside = f"{url.scheme}://{url.netloc}" == site.url
            if inside and next_one not in seen and not site.avoid.search(next_one):
                seen.add(next_one)
                waiting.append(next_one)
    return found


def _links(content_type: str, text: str, location: str | None) -> list[str]:
    if location:
        return [location]
    if "css" in content_type:
        return _IN_CSS.findall(text)
    if "html" not in content_type:
        return []
    links = _Links()
    links.feed(text)
    return links.found
