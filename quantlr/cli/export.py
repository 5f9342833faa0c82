"""``quantlr export RUN``: figures, tables and pages of a saved report, in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, complete_report_name, verb

if TYPE_CHECKING:
    from quantlr.experiment.run import Run


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
@click.option("--tables", is_flag=True, help="Write report.xlsx, a sheet for each table, and a CSV for each.")
@click.option("--pdf", "is_pdf", is_flag=True, help="Write report.pdf, all pages.")
@click.option("--list", "is_list", is_flag=True, help="List the names of the figures.")
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder for the files, instead of the report's.")  # fmt: skip
def command(
    options: Options,
    *,
    run_name: str,
    figures: tuple[str, ...],
    file_format: str,
    size: str,
    dpi: int,
    theme: str,
    ticker: str | None,
    tables: bool,
    is_pdf: bool,
    is_list: bool,
    target: Path | None,
) -> None:
    """Export figures, tables or all pages of RUN, the name of a report in OUTPUT or its folder.

    The run is computed again from the report's config and the stored prices, which must be the same. A PDF of one
    figure has the proportions of --size.
    """
    from quantlr.cli.terminal import progress_bar
    from quantlr.core.errors import UserError
    from quantlr.experiment.export import PDF_FILE, recompute_run, table_files
    from quantlr.report.figures import pages_pdf_bytes, parse_size
    from quantlr.report.saved_runs import find_run_dir
    from quantlr.report.storage import write_report_files

    report_dir, inches = find_run_dir(run_name, options.output), parse_size(size)
    with progress_bar(options.messages) as progress:
        run = recompute_run(report_dir, workers=options.workers, progress=progress)
    if is_list:
        options.results.print("\n".join(run.figures.names(ticker)), highlight=False)
    elif not (figures or tables or is_pdf):
        names = ", ".join(run.figures)
        raise UserError(f"name what to export: --figure NAME, --tables or --pdf; the figures are {names}")
    files, too_long = table_files(run) if tables else ({}, [])
    if is_pdf:
        files[PDF_FILE] = pages_pdf_bytes(run.page_context)
    files |= _figure_files(run, figures, file_format, size=inches, dpi=dpi, theme=theme, ticker=ticker)
    paths = write_report_files(files, target.resolve() if target else report_dir)
    for name in too_long:
        options.messages.print(f"{name} has more rows than a sheet of Excel: it is in {name}.csv only")
    options.print_written_paths(paths)
    options.print_json({"name": report_dir.name, "figures": list(run.figures), "files": list(map(str, paths))})


def _figure_files(
    run: Run,
    names: tuple[str, ...],
    file_format: str,
    *,
    size: tuple[float, float],
    dpi: int,
    theme: str,
    ticker: str | None,
) -> dict[str, bytes]:
    """Return figures as files by name."""
    from quantlr.report.figures import check_pixels, figure_bytes
    from quantlr.report.storage import page_file_stem

    check_pixels(size, dpi)
    collection = run.figures
    if "all" in names:
        names = collection.names(ticker)
    stem = f".{page_file_stem(ticker)}" if ticker else ""
    drawn = {name: collection.draw(name, size=size, theme=theme, ticker=ticker) for name in names}
    return {
        f"figure_{name}{stem}.{file_format}": figure_bytes(figure, file_format, size=size, dpi=dpi)
        for name, figure in drawn.items()
    }
