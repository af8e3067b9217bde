"""The options that name a pool in a file of FPM's configuration."""

from __future__ import annotations

import argparse

__all__ = ("add_config_options",)

_FILE = "FPM's configuration, or the output of php-fpm -tt, in a file"


def add_config_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup, file: str) -> None:
    """Add `--fpm-config`, `--pool` and `--prefix`.

    Args:
        parser: the parser, or a group of it.
        file: the help of `--fpm-config`; in it `{}` stands for what the file is.
    """
    parser.add_argument("--fpm-config", metavar="FILE", help=file.format(_FILE))
    parser.add_argument("--pool", metavar="NAME", help="the pool in that configuration (default: www, or the only one)")
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        help="the folder that relative paths in that configuration start from (default: found from its includes)",
    )
