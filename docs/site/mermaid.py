"""Draws the Mermaid blocks of pages when the site is built, so that the site loads nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Any

import mmdr
from mkdocs.config.defaults import MkDocsConfig
from pymdownx.superfences import SuperFencesException  # type: ignore[import-untyped]

__all__ = ("on_config",)

_THEME = '%%{init: {"themeVariables": {"edgeLabelBackground": "#ffffff", "fontFamily": "Arial, sans-serif"}}}%%\n'
# diagrams are laid out for Arial; what takes its place, such as DejaVu Sans, is a sixth wider
_SIZES = {"font-size:14px": "font-size:12px", "font-size:16px": "font-size:14px"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give `mermaid` blocks to the renderer; other blocks are code."""
    fence = {"name": "mermaid", "class": "mermaid", "format": _draw}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def _draw(source: str, language: str, css_class: str, options: object, md: object, **_: Any) -> str:
    """Return a picture; it is no part of the page, because the styles of two would mix there."""
    try:
        svg = mmdr.render(_THEME + source).svg()
    except ValueError as error:
        # any other exception would leave the block as code
        raise SuperFencesException(f"{error} in {source}") from error
    for laid_out, drawn in _SIZES.items():
        svg = svg.replace(laid_out, drawn)
    data = b64encode(svg.encode()).decode()
    return f'<p><img class="{css_class}" alt="{escape(source)}" src="data:image/svg+xml;base64,{data}"></p>'
