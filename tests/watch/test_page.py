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
def respond(url: str, *, method: str = "GET", body: str | None = None, **headers: str) -> Iterator[HTTPResponse]:
    """Yield the response to a request for an address of the server."""
    _, _, host, path = url.split("/", maxsplit=3)
    with closing(HTTPConnection(host, timeout=20)) as connection:
        connection.request(method, f"/{path}", body, headers)
        with connection.getresponse() as response:
            yield response


def status_of(url: str, **options: str) -> int:
    with respond(url, **options) as response:
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


INVALID_CHANGE = '{"key": "policy.long_above", "value": "2"}'


@pytest.mark.parametrize(
    ("different", "status"),
    [
        ({}, 200),
        ({"path": "wrong/value"}, 404),
        ({"path": "value"}, 404),
        ({"path": "{token}/"}, 405),
        ({"path": "{token}/events"}, 405),
        ({"method": "GET"}, 405),
        ({"Origin": ""}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 400),
        ({"body": "key=policy.long_above&value=0.6"}, 400),
        ({"body": '["policy.long_above", "0.6"]'}, 400),
        ({"body": '{"key": "policy.long_above"}'}, 400),
        ({"body": '{"key": "policy.long_above", "value": 0.6}'}, 400),
        ({"body": '{"key": "policy.long_above", "value": "0.6"}' + " " * 20_000}, 400),
        ({"path": "{token}/ticker"}, 400),
        ({"path": "{token}/ticker", "body": '{"ticker": "no such ticker"}'}, 200),
        ({"path": "{token}/ticker", "method": "GET"}, 405),
        ({"path": "{token}/ticker", "Origin": "http://evil.example"}, 403),
    ],
)
def test_only_a_post_from_its_own_page_may_change_a_value(
    watched: Watched, different: dict[str, str], status: int
) -> None:
    wait_for_page(watched.url)
    _, _, host, token, _ = watched.url.split("/")
    usual = {"path": "{token}/value", "method": "POST", "Origin": f"http://{host}", "body": INVALID_CHANGE}
    options = {name: text for name, text in {**usual, "Content-Type": "application/json", **different}.items() if text}
    path, before = options.pop("path").format(token=token), watched.config_path.read_bytes()
    assert status_of(f"http://{host}/{path}", **options) == status
    assert watched.config_path.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no second loopback address")
def test_server_listens_on_one_address_of_this_machine(watched: Watched) -> None:
    wait_for_page(watched.url)
    with pytest.raises(ConnectionRefusedError):
        status_of(watched.url.replace("127.0.0.1", "127.0.0.2"))


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
    tab.wait_for("Object.values(interactiveCharts.charts).every(({figure}) => !figure.hold_render)")
    shown = tab.evaluate("Object.keys(interactiveCharts.panels.shown)")
    assert sorted(shown) == ["calibration", "coefficients"]
    assert not tab.evaluate("document.querySelector('[data-charts]').classList.contains('pending')")
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


CHANGE_CONTROL = """(() => {
  const row = document.querySelector(`[data-key="KEY"]`), field = row.querySelector("SELECTOR");
  field.value = "VALUE";
  for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, {bubbles: true}));
})()"""


def change_control(tab: ChromiumTab, key: str, value: str, *, selector: str = "input[type=text], select") -> None:
    """Change a control as a user does."""
    tab.evaluate(CHANGE_CONTROL.replace("KEY", key).replace("SELECTOR", selector).replace("VALUE", value))


def control_text(tab: ChromiumTab, key: str, selector: str) -> str:
    return str(tab.evaluate(f"document.querySelector('[data-key=\"{key}\"] {selector}').textContent"))


@needs_browser
def test_controls_change_their_values_in_the_file_alone(tab: ChromiumTab, watched: Watched) -> None:
    text = CONFIG
    for key, selector, value, former, new, shown in (
        ("policy.long_above", "[type=range]", "505", "above: 0.5}", "above: 0.505}", "0.5 → 0.505"),
        ("execution.commission_bps", "[type=range]", "200", "bps: 1.0}", "bps: 8.0}", "1.0 → 8.0"),
        ("execution.fill", "select", "close", "bps: 8.0}", "bps: 8.0, fill: close}", "next_close → close"),
        ("features.0.lags", "[type=text]", "[1, 3]", "[1, 2]", "[1, 3]", "[1, 2] → [1, 3]"),
        (
            "model.l2",
            "[type=text]",
            "0.01",
            "8.0, fill: close}\n",
            "8.0, fill: close}\nmodel: {l2: 0.01}\n",
            "0.0 → 0.01",
        ),
    ):
        change_control(tab, key, value, selector=selector)
        tab.wait_for(f"document.querySelector('[data-live=changes]').textContent.includes({shown!r})")
        text = text.replace(former, new)
        assert watched.config_path.read_text() == text
        assert control_text(tab, key, "[data-origin]") == ""
    save_and_wait(tab, watched, CONFIG, "[1, 3] → [1, 2]")
    assert tab.evaluate("document.querySelector('[data-key=\"policy.long_above\"] [type=text]').value") == "0.5"
    assert tab.messages == []


@needs_browser
def test_invalid_value_of_a_control_is_refused_beside_it(tab: ChromiumTab, watched: Watched) -> None:
    change_control(tab, "policy.long_above", "1.5")
    tab.wait_for("document.querySelector('[data-key=\"policy.long_above\"] .error').textContent")
    assert "my.yaml:6:39: policy.long_above: needs a number of at most 1, found 1.5" in control_text(
        tab, "policy.long_above", ".error"
    )
    assert watched.config_path.read_text() == CONFIG
    assert tab.evaluate("document.querySelector('[data-key=\"policy.long_above\"] [type=text]').value") == "0.5"


@needs_browser
def test_chosen_ticker_is_fetched_and_stays(tab: ChromiumTab, watched: Watched) -> None:
    folder = watched.config_path.parent
    (folder / "prices").mkdir()
    for seed, name in enumerate(("ABC", "DEF")):
        write_prices(folder / "prices", seed=seed)
        (folder / "prices" / "prices.csv").rename(folder / "prices" / f"{name}.csv")
    two = CONFIG.replace("path: prices.csv}, tickers: [ABC]", "path: prices}, tickers: [ABC, DEF]")
    price = "interactiveCharts.source.data.price.join()"
    title, menu = (
        "document.querySelector('[data-part=price] h3').textContent",
        "document.querySelector('[data-part=ticker]')",
    )
    watched.config_path.write_text(two)
    tab.wait_for(f"{menu}.options.length === 2")
    wait_until_up_to_date(tab)
    first = tab.evaluate(price)
    tab.evaluate(f"{menu}.value = 'DEF'; {menu}.dispatchEvent(new Event('change'))")
    tab.wait_for(f"{title}.startsWith('DEF')")
    assert tab.evaluate(price) != first
    save_and_wait(tab, watched, two.replace("long_above: 0.5", "long_above: 0.52"), "0.5 → 0.52")
    assert tab.evaluate(f"[{menu}.value, {title}.slice(0, 3)]") == ["DEF", "DEF"]
    watched.config_path.write_text(CONFIG)
    tab.wait_for(f"{menu}.closest('label').hidden")
    wait_until_up_to_date(tab)
    assert tab.messages == []


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
