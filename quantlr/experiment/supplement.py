"""Files beside a run's report: a page with its tables, or an audit, of the same config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from quantlr.config.run_config import RunConfig
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.trial import Trial
from quantlr.report.context import PageContext
from quantlr.report.file_formats import csv_bytes
from quantlr.report.pages.layout import Page
from quantlr.report.storage import check_report_target, make_reports_dir, require_report_of_config, write_report_files


def require_own_report(config: RunConfig, output: str | Path) -> None:
    """Raise the errors of `save_supplement`, as far as they can be seen before anything is computed."""
    output, report_dir = Path(output), Path(output) / config.name
    check_report_target(output, config.name)
    require_report_of_config(report_dir, config.to_yaml(folder=report_dir))
    Ledger.from_output_folder(output).require_usable()


def save_supplement(
    config: RunConfig,
    files: Mapping[str, bytes],
    output: str | Path,
    *,
    trials: Sequence[Trial] = (),
    edits: Mapping[str, Callable[[bytes], bytes]] | None = None,
) -> list[Path]:
    """Write files beside the report of a config, record trials together with them, and return the paths.

    Files of the report are edited as in `write_report_files`.

    Raises
    ------
    OutputError : the report in that folder is of another config; or as for `Run.save`.
    Fault : as for `Run.save`.
    """
    output, report_dir = Path(output), Path(output) / config.name
    make_reports_dir(output, config.name)
    with Ledger.from_output_folder(output).recording(trials) if trials else nullcontext():
        return write_report_files(files, report_dir, config_yaml=config.to_yaml(folder=report_dir), edits=edits)


def save_page(
    page: Page,
    context: PageContext,
    tables: Mapping[str, pd.DataFrame],
    output: str | Path,
    *,
    trials: Sequence[Trial] = (),
    edit: Callable[[bytes], bytes] | None = None,
) -> list[Path]:
    """Write a page and its tables, as CSV by file name, beside a run's report; see `save_supplement`.

    Where there is a ``report.html``, it is edited by `edit`, and the page is added to it and to the gallery.
    """
    from quantlr.report.gallery import write_gallery
    from quantlr.report.html import add_page_to_report

    picture = page.render_picture(context)
    files = {page.file_name: picture.png_bytes}
    files |= {name: csv_bytes(table) for name, table in tables.items()}

    def edit_report(html: bytes) -> bytes:
        return add_page_to_report(edit(html) if edit else html, page.file_name, picture)

    paths = save_supplement(context.config, files, output, trials=trials, edits={"report.html": edit_report})
    if len(paths) > len(files):
        write_gallery(Path(output))
    return paths
