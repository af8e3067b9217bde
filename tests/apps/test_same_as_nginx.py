"""Visitors of applications cannot tell whether nginx or PHPApplication passes their requests on to PHP-FPM."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.apps.application import Application
from tests.apps.compare import Answer, differences
from tests.apps.crawl import crawl
from tests.apps.fronts import Front
from tests.apps.one_day import on_one_day
from tests.apps.visitor import visitor

# of each application, in two walks
PAGES = 60


def compare(site: Application, fronts: Sequence[Front], *, logged_in: bool) -> tuple[list[str], list[str]]:
    """Ask both for everything that is found behind one; return the targets, and how their answers differ."""
    one, other = fronts
    with visitor(site.url, one.port) as client, visitor(site.url, other.port) as second:
        if logged_in:
            site.log_in(client)
        targets = crawl(site, client, pages=PAGES, files=site.files)
        second.cookies = client.cookies
        # one after the other, so that what depends on the time differs always, and not once in a while
        answers = [[Answer.of(asked.get(target)) for target in targets] for asked in (client, second)]
    found = [differences(theirs, own, site.noise) for theirs, own in zip(*answers, strict=True)]
    return targets, found


def none(found: list[str]) -> None:
    """Fail if there are differences, and show them whole."""
    if text := "\n".join(one for one in found if one):
        pytest.fail(text, pytrace=False)


def test_pages(site: Application, fronts: tuple[Front, Front]) -> None:
    """Each page and file has the same status, headers and body, for strangers and for a user."""
    site.restore()
    strange, differing = on_one_day(lambda: compare(site, fronts, logged_in=False))
    own, more = on_one_day(lambda: compare(site, fronts, logged_in=True))
    none(differing + more)
    assert len(set(strange) | set(own)) >= 60


def test_session(site: Application, fronts: tuple[Front, Front]) -> None:
    """A user logs in, works and logs out, and is answered the same at each step."""

    def work(front: Front) -> list[Answer]:
        site.restore()
        with visitor(site.url, front.port) as client:
            return list(site.session(client))

    answers = on_one_day(lambda: [work(front) for front in fronts])
    none([differences(one, other, site.noise) for one, other in zip(*answers, strict=True)])
