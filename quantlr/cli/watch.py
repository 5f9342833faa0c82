"""``quantlr watch CONFIG``: a page that follows a config while it is edited."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import click

from quantlr.cli.options import Options, config_argument, verb
from quantlr.core.errors import INTERRUPTED_EXIT_STATUS, UserError


@verb("watch", "settings", "name", "offline", "output")
@config_argument
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port on 127.0.0.1; 0 for any that is free.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--pages", "writes_pages", is_flag=True, help="Also write the report after each verdict.")
def command(options: Options, *, config_path: Path, port: int, open_page: bool, writes_pages: bool) -> None:
    """Show CONFIG as a page on this machine that is renewed whenever the file is saved.

    The page has interactive charts and point estimates at once, then intervals, verdict, and whether the difference
    from the previous result is larger than noise. What each save evaluates is recorded in the ledger of trials.
    Ctrl-C ends it. Needs the extra `watch`: pip install "quantlr[watch]".
    """
    try:
        from quantlr.watch.loop import WatchLoop
        from quantlr.watch.server import PageParts, listen, make_app, serve
    except ModuleNotFoundError as error:
        raise UserError(f'quantlr watch needs {error.name}: pip install "quantlr[watch]"') from error
    if not config_path.is_file():
        raise UserError(f"{config_path}: no such config; name a YAML file")
    connection, token, parts = listen(port), secrets.token_urlsafe(16), PageParts()
    loop = WatchLoop(
        config_path, parts.publish, options.output, options.settings, options.name, options.offline, writes_pages
    )
    port = connection.getsockname()[1]
    app = make_app(config_path.stem, parts, loop.controls.change_value, loop.show_ticker, token=token, port=port)
    url = f"http://127.0.0.1:{port}/{token}/"
    options.results.print(f"watching {config_path} at {url}", soft_wrap=True)
    options.messages.print("Ctrl-C ends it; each result is recorded in the ledger of trials")
    threading.Thread(target=loop.run, daemon=True, name="quantlr evaluation").start()
    if open_page:
        click.launch(url)
    try:
        serve(app, parts, connection)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_EXIT_STATUS) from None
    finally:
        loop.stop()
