"""WordPress: installed by its form, with something to read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.crawl import fields
from tests.apps.database import PASSWORD, USER
from tests.apps.noise import Noise
from tests.apps.pictures import PNG
from tests.apps.visitor import Visitor

__all__ = ("WordPress",)

_SOURCE = Path("/usr/share/wordpress")
ADMIN, SECRET = "ada", "a long and secret word"
_CONFIG = """<?php
define('DB_NAME', 'wordpress');
define('DB_USER', '{user}');
define('DB_PASSWORD', '{password}');
define('DB_HOST', 'localhost:{socket}');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {{
    define($name . '_KEY', "$name key");
    define($name . '_SALT', "$name salt");
}}
// nothing is asked of other hosts, nor done after a page
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('FS_METHOD', 'direct');
$table_prefix = 'wp_';
define('ABSPATH', __DIR__ . '/');
require ABSPATH . 'wp-settings.php';
"""
_CONTENT = """
$_SERVER['HTTP_HOST'] = 'wordpress.test';
require 'wp-load.php';
global $wp_rewrite;
$wp_rewrite->set_permalink_structure('/%year%/%monthnum%/%postname%/');
for ($n = 1; $n <= 12; $n++) {
    wp_insert_post(['post_title' => "Entry $n", 'post_name' => "entry-$n", 'post_status' => 'publish',
        'post_content' => str_repeat("<p>Something to read, part $n.</p>", $n), 'tags_input' => ["tag-" . $n % 4],
        'post_date' => sprintf('2024-%02d-03 10:00:00', $n), 'post_author' => 1]);
}
for ($n = 1; $n <= 3; $n++) {
    wp_insert_post(['post_title' => "Page $n", 'post_status' => 'publish', 'post_type' => 'page', 'post_author' => 1]);
}
$wp_rewrite->flush_rules(false);
"""


class WordPress(Application):
    """A blog with a dozen entries."""

    name = "wordpress"
    start = ("/", "/wp-login.php", "/wp-json/", "/feed/", "/nowhere/", "/nowhere.php", "/wp-admin", "/?p=1")
    avoid = re.compile(
        r"action=(?!edit\b)|_wpnonce|logout|customize\.php|/export|xmlrpc|replytocom|update-core|site-health|"
        r"post-new\.php|update\.php|-install\.php|press-this|load-(?:scripts|styles)"
    )
    noise = (
        Noise("a nonce belongs to a session", r"_wpnonce=([0-9a-f]{10})\b"),
        Noise("likewise", r'(?i)(?:nonce|unfiltered_html)[-\w]*(?:\W{1,4}|" value=")([0-9a-f]{10})\b'),
        Noise("likewise", r'"site_status(?:_result)?":"([0-9a-f]{10})"'),
        Noise("an address is written in another way each time", r'mailto:([^"]+)">([^<]+)<'),
        Noise("an embedded page has a secret of its own", r'secret=(?:\\?"|&quot;)?(\w{10})\b'),
        Noise("a password is proposed", r'data-pw="([^"]+)"'),
        Noise("random words are proposed", r"<kbd>(\w{8})</kbd>"),
        Noise("a script is named after a random number", r"uniqid-(\w+)"),
        Noise("a cookie's end is counted from now", r"(?i)expires=([^;\n]+)"),
        Noise("a session's token is random", r"wordpress(?:_sec|_logged_in)?_[0-9a-f]{32}=([^;\n]+)"),
        Noise("the time of the answer", r"\b(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)"),
        Noise("likewise, as an example of a format", r"(?i)>(\d{1,2}:\d\d(?: [ap]m)?)<"),
        Noise("it counts since when it should have looked for updates", r"overdue by (\d+ \w+)"),
        Noise("seconds of now", r"\b(1[789]\d{8})\b"),
    )
    changing = ("root/wp-content/uploads",)
    uses_database = True

    def prepare(self) -> None:
        ignored = shutil.ignore_patterns("wp-config.php", ".htaccess")
        self.take(_SOURCE, but=ignored)
        self.database.create(self.name)
        config = _CONFIG.format(user=USER, password=PASSWORD, socket=self.database.socket)
        (self.root / "wp-config.php").write_text(config)

    def install(self, client: Visitor) -> None:
        form = {
            "weblog_title": "A blog",
            "user_name": ADMIN,
            "admin_password": SECRET,
            "admin_password2": SECRET,
            "pw_weak": "1",
            "admin_email": "ada@wordpress.test",
            "blog_public": "0",
            "language": "",
        }
        response = client.post("/wp-admin/install.php?step=2", data=form)
        assert "Success!" in response.text, response.text
        self.php("-r", _CONTENT)

    def log_in(self, client: Visitor) -> None:
        assert self._log_in(client).status_code == 302

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(client.get("/wp-login.php"))
        wrong = {"log": ADMIN, "pwd": "wrong"}
        yield Answer.of(client.post("/wp-login.php", data=wrong), "a wrong password")
        yield Answer.of(self._log_in(client), "log in")
        yield Answer.of(client.get("/wp-admin/"))
        yield from self._write(client)
        yield from self._settings(client)
        comment = {"comment": "A good read.", "comment_post_ID": "1", "comment_parent": "0"}
        yield Answer.of(client.post("/wp-comments-post.php", data=comment), "comment")
        link = re.search(r'[^"\']+action=logout[^"\']+', client.get("/wp-admin/").text)
        assert link is not None
        yield Answer.of(client.get(unescape(link[0])), "log out")
        yield Answer.of(client.get("/wp-admin/"), "after logging out")

    def _write(self, client: Visitor) -> Iterator[Answer]:
        nonce = re.search(r'createNonceMiddleware\(\s*"(\w+)"', client.get("/wp-admin/post-new.php").text)
        assert nonce is not None
        rest = {"X-WP-Nonce": nonce[1]}
        post = {"title": "By REST", "content": "<p>Written by REST.</p>", "status": "publish"}
        created = client.post("/wp-json/wp/v2/posts", json=post, headers=rest)
        assert created.status_code == 201, created.text
        yield Answer.of(created, "write an entry")
        number = created.json()["id"]
        changed = client.put(f"/wp-json/wp/v2/posts/{number}", json={"title": "Changed"}, headers=rest)
        yield Answer.of(changed, "change it")
        yield Answer.of(client.get(f"/?p={number}", follow_redirects=True), "read it")
        picture = {"async-upload": ("picture.png", PNG, "image/png")}
        form = fields(client.get("/wp-admin/media-new.php").text, "file-form") | {"html-upload": "Upload"}
        yield Answer.of(client.post("/wp-admin/media-new.php", data=form, files=picture), "upload a picture by form")
        headers = {**rest, "Content-Type": "image/png", "Content-Disposition": 'attachment; filename="other.png"'}
        uploaded = client.post("/wp-json/wp/v2/media", content=PNG, headers=headers)
        assert uploaded.status_code == 201, uploaded.text
        yield Answer.of(uploaded, "upload a picture by REST")
        picture_file = client.get(uploaded.json()["source_url"])
        yield Answer.of(picture_file, "look at it", leave_out=("etag", "last-modified"))
        yield Answer.of(client.delete(f"/wp-json/wp/v2/posts/{number}?force=true", headers=rest), "delete the entry")

    def _settings(self, client: Visitor) -> Iterator[Answer]:
        page = client.get("/wp-admin/options-general.php").text
        form = fields(page, "options.php") | {"blogname": "Another name"}
        yield Answer.of(client.post("/wp-admin/options.php", data=form), "save the settings")
        yield Answer.of(client.get("/wp-admin/options-permalink.php"))

    def _log_in(self, client: Visitor) -> httpx.Response:
        client.get("/wp-login.php")
        form = {"log": ADMIN, "pwd": SECRET, "redirect_to": f"{self.url}/wp-admin/", "testcookie": "1"}
        return client.post("/wp-login.php", data=form)
