"""Put the results into the docs: the table into docs/benchmarks.md, and two plots beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by benchmarks/side_by_side -->", "<!-- end of results -->"
COLOURS = {"allm": "#d1495b", "bare": "#777777"}
OTHERS = "#9db4c0"

Results = dict[str, Any]


def write(document: Results, table: str, docs: Path) -> None:
    """Replace what is between the two markers of the page, and the plots."""
    page = docs / "benchmarks.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{conditions(document)}\n\n{table}\n\n{END}{after}", "utf-8")
    ratios(document, docs / "benchmarks-ratios.png")
    growth(document, docs / "benchmarks-growth.png")


def conditions(document: Results) -> str:
    """One sentence on the run."""
    versions = {name: version for found in document["versions"].values() for name, version in found.items()}
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"Run on {document['date']}: Python {document['python']}, {document['processor']}; up to {document['rounds']} "
        f"rounds for each row. {packages}."
    )


def ratios(document: Results, path: Path) -> None:
    """Bars for the rows that compare with the bare loop, one below the other, on a logarithmic scale."""
    plt = pyplot()
    rows = [row for row in document["rows"] if not row["sizes"] and "bare" in row["measures"][0]["candidates"]]
    figure, axes = plt.subplots(figsize=(9, 0.22 * sum(len(row["measures"][0]["candidates"]) + 1 for row in rows)))
    labels: list[str] = []
    places: list[int] = []
    place = 0
    for row in rows:
        for name, found in row["measures"][0]["candidates"].items():
            if name != "bare":
                ratio = found["at"][0]["ratio"]
                axes.barh(place, ratio, color=COLOURS.get(name, OTHERS))
                axes.text(ratio, place, f" {ratio:.1f}", va="center", fontsize=7)
                labels.append(f"{row['name']}: {name}")
                places.append(place)
                place += 1
        place += 1
    axes.set_xscale("log")
    axes.axvline(1, color=COLOURS["bare"], linewidth=1)
    axes.set_yticks(places, labels, fontsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel("cost, as a multiple of a bare loop's (logarithmic)")
    finish(figure, path)


def growth(document: Results, path: Path) -> None:
    """Cost over size, for the rows that run for several sizes."""
    plt = pyplot()
    drawn = [(row, measure) for row in document["rows"] if row["sizes"] for measure in row["measures"]]
    columns = 2
    figure, grid = plt.subplots(
        -(-len(drawn) // columns), columns, figsize=(9, 3 * -(-len(drawn) // columns)), squeeze=False
    )
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, (row, measure) in zip(grid.flat, drawn, strict=False):
        axes.set_visible(True)
        for name, found in measure["candidates"].items():
            colour = COLOURS.get(name)
            values = [size["median"] for size in found["at"]]
            axes.plot(row["sizes"], values, marker="o", color=colour, label=f"{name} ({found['exponent']:.2f})")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(row["name"], fontsize=9)
        axes.set_ylabel(measure["unit"], fontsize=8)
        axes.legend(fontsize=7, title="exponent in brackets", title_fontsize=7)
    finish(figure, path)


def pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def finish(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
