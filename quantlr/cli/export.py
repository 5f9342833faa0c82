"""``quantlr export RUN``: figures, tables and pages of a saved report, in the formats of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, complete_report_name, verb

if TYPE_CHECKING:
    from quantlr.experiment.export import FigureFormat


@verb("export", "output", "jobs")
@click.argument("run_name", metavar="RUN", shell_complete=complete_report_name)
@click.option("--figure", "figures", multiple=True, metavar="NAME", help="A panel to export; all for every one.")
@click.option("--format", "file_format", type=click.Choice(["png", "svg", "pdf"]), default="png", show_default=True,
              help="Format of the figures.")  # fmt: skip
@click.option("--size", default="10x5", show_default=True, metavar="WxH", help="Width and height in inches.")
@click.option("--dpi", type=click.IntRange(20, 2400), default=200, show_default=True, help="Pixels per inch of a PNG.")
@click.option("--theme", type=click.Choice(["light", "dark", "slides"]), default="light", show_default=True,
              help="Colours and letters; slides has larger ones.")  # fmt: skip
@click.option("--ticker", metavar="TICKER", help="Export the panels of this ticker's own page.")
@click.option("--tables", is_flag=True, help="Write report.xlsx, a sheet for each table of a run, and a CSV for each.")
@click.option("--pdf", "is_pdf", is_flag=True, help="Write report.pdf, all pages.")
@click.option("--list", "is_list", is_flag=True, help="List the names of the figures.")
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder for the files, instead of the report's.")  # fmt: skip
def command(
    options: Options,
    *,
    run_name: str,
    figures: tuple[str, ...],
    file_format: FigureFormat,
    size: str,
    dpi: int,
    theme: str,
    ticker: str | None,
    tables: bool,
    is_pdf: bool,
    is_list: bool,
    target: Path | None,
) -> None:
    """Export figures, tables or all pages of RUN, a report of a run, a sweep or a comparison: its name or its folder.

    A run is computed again from the report's config and the stored prices, which must be the same. A PDF of one figure
    has the proportions of --size.
    """
    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.export import ExportRequest, export_files
    from quantlr.experiment.saved_pages import open_saved_pages
    from quantlr.report.figures import parse_size
    from quantlr.report.saved_runs import find_run_dir
    from quantlr.report.storage import SUMMARY_FILES, write_report_files

    request = ExportRequest(figures, file_format, parse_size(size), dpi, theme, ticker, tables, is_pdf)
    if not is_list:
        request.check()
    report_dir = find_run_dir(run_name, options.output, SUMMARY_FILES)
    with progress_bar(options.messages) as progress:
        pages = open_saved_pages(report_dir, workers=options.workers, progress=progress)
        names = pages.figures.names(ticker) if is_list else figures
        files, too_long = export_files(pages, request)
    if is_list:
        options.results.print("\n".join(names), highlight=False)
    paths = _write_to_folder(files, target) if target else write_report_files(files, report_dir)
    for name in too_long:
        options.messages.print(f"{name} has more rows than a sheet of Excel: it is in {name}.csv only")
    options.print_written_paths(paths)
    options.print_json({"name": report_dir.name, "figures": list(names), "files": list(map(str, paths))})


def _write_to_folder(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files into a folder of the user, each whole or not at all, and return their paths; touch nothing beside it.

    Raises
    ------
    OutputError : the folder can't be written to.
    """
    from quantlr.core.atomic import atomic_write
    from quantlr.core.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            atomic_write(folder / name, content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{str(folder)[:200]} can't be written to: {reason}; choose another --to") from error
    return [folder / name for name in files]
