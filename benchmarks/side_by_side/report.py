"""Put the results into the docs: the table into docs/benchmarks.md, and two plots beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by benchmarks/side_by_side -->", "<!-- end of results -->"
# Of a brightness that can be read on a white page and on a black one, since the pictures have no background.
COLOURS = {"allm": "#d1495b", "bare": "#888888"}
OTHERS = "#6f93a8"
TEXT = "#7b828c"
WIDTH = 5.5  # inches; on a phone they are three quarters of that, where text of 10 points can still be read

Results = dict[str, Any]


def write(document: Results, table: str, docs: Path) -> None:
    """Replace what is between the two markers of the page, and the plots."""
    page = docs / "benchmarks.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{conditions(document)}\n\n{table}\n\n{END}{after}", "utf-8")
    ratios(document, docs / "benchmarks-ratios.svg")
    growth(document, docs / "benchmarks-growth.svg")


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
    lines = sum(len(row["measures"][0]["candidates"]) + 0.7 for row in rows)  # a title in the place of "bare"
    figure, axes = plt.subplots(figsize=(WIDTH, 0.22 * lines))
    labels: list[str] = []
    places: list[float] = []
    place = 0.0
    for row in rows:
        axes.text(0.55, place, row["name"], va="center", fontweight="bold")
        for name, found in row["measures"][0]["candidates"].items():
            if name != "bare":
                place += 1
                ratio = found["at"][0]["ratio"]
                axes.barh(place, ratio, color=COLOURS.get(name, OTHERS))
                axes.text(ratio, place, f" {ratio:.1f}", va="center")
                labels.append(name)
                places.append(place)
        place += 1.7
    axes.set_xscale("log")
    axes.set_xlim(0.5, 450)
    axes.axvline(1, color=COLOURS["bare"], linewidth=1)
    axes.set_yticks(places, labels)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(place - 1, -0.8)
    axes.set_xlabel("cost, as a multiple of a bare loop's")
    finish(figure, path)


def growth(document: Results, path: Path) -> None:
    """Cost over size, for the rows that run for several sizes, one below the other."""
    plt = pyplot()
    drawn = [(row, measure) for row in document["rows"] if row["sizes"] for measure in row["measures"]]
    figure, grid = plt.subplots(len(drawn), figsize=(WIDTH, 2.6 * len(drawn)), squeeze=False)
    for axes, (row, measure) in zip(grid.flat, drawn, strict=True):
        for name, found in measure["candidates"].items():
            values = [size["median"] for size in found["at"]]
            label = f"{name} ({found['exponent']:.2f})"
            axes.plot(row["sizes"], values, marker="o", color=COLOURS.get(name), label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(f"{row['name']}, {measure['unit']}")
        axes.set_xticks(row["sizes"], [f"{size:,}" for size in row["sizes"]])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(title="exponent in brackets", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    finish(figure, path)


def pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "allm", "axes.facecolor": "none"})
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    plt.rcParams.update(dict.fromkeys(coloured, TEXT))
    return plt


def finish(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})
