"""Find the folder that a site is served from."""

from __future__ import annotations

from pathlib import Path

from fcgi_async.commands.errors import UsageError

__all__ = ("find_site_folder",)

# the names used by Laravel and Symfony, by Drupal and Yii, by CakePHP
_PUBLIC = ("public", "web", "webroot")


def find_site_folder(directory: str, front: str) -> Path:
    """Return the document root in a project's folder: the subfolder that has the front controller, or the folder
    itself.

    Raises:
        UsageError: there is no such folder.
    """
    project = Path(directory).absolute()
    if project.is_file():
        raise UsageError(f"{directory}: this is a file; give the site's folder")
    if not project.is_dir():
        raise UsageError(f"{directory}: there is no such folder")
    for name in _PUBLIC:
        if (project / name / front).is_file():
            return project / name
    return project
