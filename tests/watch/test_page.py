"""The page of `quantlr watch`: its server answers its own page only, and a browser shows what is saved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from chromium import BROWSER, NO_BROWSER_REASON, ChromiumTab, open_chromium
from watch.test_loop import CONFIG, write_prices

STATUS = "document.querySelector('[data-live=status]').textContent"
needs_browser = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER_REASON)


@dataclass(frozen=True)
class Watched:
    """A running program, the address of its page, and the config that it shows."""

    process: subprocess.Popen[str]
    url: str
    config_path: Path


def start(folder: Path) -> Watched:
    write_prices(folder)
    path = folder / "my.yaml"
    path.write_text(CONFIG)
    process = subprocess.Popen(
        [sys.executable, "-m", "quantlr", "watch", path.name],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert process.stdout
    address = re.search(r"http://\S+", process.stdout.readline())
    assert address, process.communicate(timeout=20)
    return Watched(process, address[0], path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    watched = start(tmp_path_factory.mktemp("watched"))
    yield watched
    watched.process.kill()
    watched.process.communicate()


@contextmanager
def respond(url: str, *, method: str = "GET", **headers: str) -> Iterator[HTTPResponse]:
    """Yield the response to a request for an address of the server."""
    _, _, host, path = url.split("/", maxsplit=3)
    with closing(HTTPConnection(host, timeout=20)) as connection:
        connection.request(method, f"/{path}", headers=headers)
        with connection.getresponse() as response:
            yield response


def status_of(url: str, *, method: str = "GET", **headers: str) -> int:
    with respond(url, method=method, **headers) as response:
        return response.status


def wait_for_page(url: str) -> None:
    """Wait until the server answers; it listens a moment after it has printed its address."""
    for _ in range(400):
        try:
            status_of(url)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("no answer")


def test_only_its_own_page_is_answered(watched: Watched) -> None:
    wait_for_page(watched.url)
    host = watched.url.split("/")[2]
    assert host.startswith("127.0.0.1:")
    assert status_of(watched.url) == 200
    assert status_of(watched.url, Origin=f"http://{host}") == 200
    assert status_of(watched.url, Host="evil.example") == 403
    assert status_of(watched.url, Origin="http://evil.example") == 403
    assert status_of(f"http://{host}/wrong/") == 404
    assert status_of(f"http://{host}/wrong/events") == 404
    assert status_of(f"{watched.url}../../../../etc/passwd") == 404
    assert status_of(watched.url, method="POST") == 405


def test_page_may_load_nothing_from_elsewhere(watched: Watched) -> None:
    wait_for_page(watched.url)
    with respond(watched.url) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.fixture(scope="module")
def tab(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromiumTab]:
    wait_for_page(watched.url)
    with open_chromium(tmp_path_factory.mktemp("browser") / "profile") as tab:
        tab.resize(1200, 1400)
        tab.open(watched.url)
        wait_until_up_to_date(tab)
        yield tab


def wait_until_up_to_date(tab: ChromiumTab) -> None:
    tab.wait_for(f"{STATUS}.startsWith('up to date')")


def save_and_wait(tab: ChromiumTab, watched: Watched, text: str, shown: str) -> None:
    """Save the config and wait until the page shows a text and is up to date."""
    watched.config_path.write_text(text)
    tab.wait_for(f"document.body.textContent.includes({shown!r})")
    wait_until_up_to_date(tab)


@needs_browser
def test_saved_change_is_shown_and_zoom_session_and_scroll_stay(tab: ChromiumTab, watched: Watched) -> None:
    chart = "document.querySelector('[data-part=equity]')"
    tab.evaluate("document.querySelector('[data-part=in]').click(); interactiveCharts.select(100)")
    tab.evaluate(f"{chart}.scrollIntoView({{behavior: 'instant'}})")
    top = f"Math.round({chart}.getBoundingClientRect().top)"
    state = f"[interactiveCharts.xRange.start, interactiveCharts.xRange.end, interactiveCharts.session, {top}]"
    before, equity = tab.evaluate(state), tab.evaluate("interactiveCharts.source.data.net_equity.join()")
    save_and_wait(tab, watched, CONFIG.replace("long_above: 0.5", "long_above: 0.52"), "0.5 → 0.52")
    assert tab.evaluate(state) == before
    assert tab.evaluate("interactiveCharts.source.data.net_equity.join()") != equity
    assert tab.messages == []


@needs_browser
def test_crosshair_reads_a_session(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=all]').click()")
    tab.evaluate(
        "document.querySelector('[data-part=equity] .canvas').scrollIntoView({block: 'center', behavior: 'instant'})"
    )
    before = tab.evaluate("interactiveCharts.session")
    left, top, width, height = tab.evaluate(
        "(() => { const r = document.querySelector('[data-part=equity] .canvas').getBoundingClientRect();"
        " return [r.x, r.y, r.width, r.height]; })()"
    )
    for step in (0, 1):
        tab.move_mouse(left + 0.7 * width + step, top + height / 2)
    tab.wait_for(f"interactiveCharts.session !== '{before}'")
    tab.wait_for("document.querySelector('[data-part=readout] dd').textContent === interactiveCharts.session")


@needs_browser
def test_error_is_shown_at_its_place_beside_the_last_result(tab: ChromiumTab, watched: Watched) -> None:
    equity = tab.evaluate("interactiveCharts.source.data.net_equity.join()")
    watched.config_path.write_text(CONFIG.replace("train: 250", "train: never"))
    tab.wait_for(f"{STATUS}.startsWith('error')")
    assert "my.yaml:5:23" in tab.evaluate("document.querySelector('[data-live=error]').textContent")
    assert tab.evaluate("interactiveCharts.source.data.net_equity.join()") == equity
    watched.config_path.write_text(CONFIG)
    wait_until_up_to_date(tab)
    assert tab.evaluate("document.querySelector('[data-live=error]').textContent") == ""


@needs_browser
def test_ten_rapid_saves_show_the_last(tab: ChromiumTab, watched: Watched) -> None:
    for value in range(9):
        watched.config_path.write_text(CONFIG.replace("long_above: 0.5", f"long_above: 0.51{value}"))
        time.sleep(0.004)
    save_and_wait(tab, watched, CONFIG.replace("long_above: 0.5", "long_above: 0.53"), "→ 0.53")
    assert tab.messages == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_ends_it_while_a_browser_is_connected(tmp_path: Path) -> None:
    watched = start(tmp_path)
    wait_for_page(watched.url)
    with respond(f"{watched.url}events") as events:
        assert events.readline().startswith(b"retry")
        watched.process.send_signal(signal.SIGINT)
        watched.process.communicate(timeout=20)
    assert watched.process.returncode == 130
