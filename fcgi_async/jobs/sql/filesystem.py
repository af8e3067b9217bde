"""The kind of file system of a folder, from statfs(2)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ("network_filesystem",)

# from linux/magic.h and the file systems' own sources
_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB 2",
    0x00C36400: "Ceph",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
}


def network_filesystem(folder: Path) -> str | None:
    """Return the name of the folder's file system if it is a network file system; None if not, or not known."""
    magic = filesystem_magic(folder)
    return None if magic is None else _NETWORK.get(magic)


def filesystem_magic(folder: Path) -> int | None:
    """Return the magic number of the folder's file system; None if it is not known."""
    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (OSError, AttributeError):
        return None
    # struct statfs is shorter on every architecture, and begins with f_type, a long
    buffer = ctypes.create_string_buffer(512)
    if statfs(os.fsencode(folder), buffer) != 0:
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF
