"""The study's plots as SVG: white ground, colours that the colour-blind tell apart, the same bytes for the same study.

Needs matplotlib (the extra `bench`), which is imported when a plot is made. Knows no figure: series.py has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scaling import series
from benchmarks.scaling.results import Study

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")  # Okabe and Ito, 2008
MARKERS = "osD^vP"
DISTANCE = "Fréchet distance (no unit; less is better)"
STYLE = {
    "svg.hashsalt": "dit-serve scaling study",  # or ids in the file would be drawn at random
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
}

Drawn = Callable[[Any, Study], None]  # (figure, study)


def write_plots(study: Study, folder: Path) -> list[Path]:
    """Draws all plots, each NAME.svg in the folder, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(study, draw, folder / f"{name}.svg") for name, draw in PLOTS.items()]


def _write(study: Study, draw: Drawn, path: Path) -> Path:
    with _figure() as figure:
        draw(figure, study)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return path


@contextmanager
def _figure() -> Iterator[Any]:
    """A figure in our style; without pyplot, which keeps figures and asks for a screen."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(8.0, 4.6), layout="constrained")


def gflops(figure: Any, study: Study) -> None:
    """Distance against the model's Gflops: figure 8 of the paper."""
    points = series.final(study)
    widths, patches, wide = _widths(study), _patches(study), series.wide_enough(study, points)
    axes = figure.subplots()
    for point in points:
        colour, marker = COLOURS[widths.index(point.model.hidden_size)], MARKERS[patches.index(point.model.patch_size)]
        fill = "full" if point in wide else "none"
        axes.plot(point.model.gflops, point.quality.distance, marker, color=colour, markersize=8, fillstyle=fill)
    _logarithmic(axes, "multiply-adds of one forward pass (Gflops, as the paper counts them)")
    hollow = "; hollow: narrower than a token has values" if len(wide) < len(points) else ""
    axes.set_title(f"correlation of log Gflops and distance: {series.correlation(points):.2f}{hollow}")
    keys = [(f"width {width}", COLOURS[i], "s") for i, width in enumerate(widths)]
    _legend(axes, keys + [(f"patch {patch}", "#444444", MARKERS[i]) for i, patch in enumerate(patches)])


def training(figure: Any, study: Study) -> None:
    """Distance over training, a panel a patch: the form of the paper's figures 6 and 7."""
    widths, patches = _widths(study), _patches(study)
    panels = figure.subplots(1, len(patches), sharey=True, squeeze=False)[0]
    for axes, patch in zip(panels, patches, strict=True):
        for curve in series.over_training(study):
            if curve.model.patch_size == patch:
                i = widths.index(curve.model.hidden_size)
                axes.plot(curve.x, curve.distance, color=COLOURS[i], marker=MARKERS[i])
        _logarithmic(axes, "training steps")
        axes.set_title(f"patch {patch}")
        axes.set_xticks(study_checkpoints(study), labels=[str(step) for step in study_checkpoints(study)])
        axes.xaxis.minorticks_off()
    for axes in panels[1:]:
        axes.set_ylabel("")
    _legend(panels[-1], [(f"width {width}", COLOURS[i], MARKERS[i]) for i, width in enumerate(widths)])


def compute(figure: Any, study: Study) -> None:
    """Distance against all compute of the training: figure 9 of the paper."""
    widths, patches = _widths(study), _patches(study)
    axes = figure.subplots()
    for curve in series.over_compute(study):
        colour = COLOURS[widths.index(curve.model.hidden_size)]
        axes.plot(curve.x, curve.distance, color=colour, marker=MARKERS[patches.index(curve.model.patch_size)])
    _logarithmic(axes, "multiply-adds of the training so far (Gflops)")
    keys = [(f"width {width}", COLOURS[i], "s") for i, width in enumerate(widths)]
    _legend(axes, keys + [(f"patch {patch}", "#444444", MARKERS[i]) for i, patch in enumerate(patches)])


def blocks(figure: Any, study: Study) -> None:
    """Distance over training with each of the four blocks: figure 5 of the paper."""
    axes = figure.subplots()
    for curve in series.over_training_by_block(study):
        i = series.BLOCK_ORDER[curve.model.conditioning]
        axes.plot(curve.x, curve.distance, color=COLOURS[i], marker=MARKERS[i])
    _logarithmic(axes, "training steps")
    axes.set_xticks(study_checkpoints(study), labels=[str(step) for step in study_checkpoints(study)])
    axes.xaxis.minorticks_off()
    _legend(axes, [(block, COLOURS[i], MARKERS[i]) for block, i in series.BLOCK_ORDER.items()])


def sampling(figure: Any, study: Study) -> None:
    """Distance against the compute of one picture, by model: figure 10 of the paper."""
    widths = _widths(study)
    axes = figure.subplots()
    for curve in series.over_sampling(study):
        i = widths.index(curve.model.hidden_size)
        axes.plot(curve.x, curve.distance, color=COLOURS[i], marker=MARKERS[i])
    ladder = ", ".join(str(steps) for steps in study.about["plan"]["ladder"])
    _logarithmic(axes, f"multiply-adds of one picture (Gflops): {ladder} sampling steps, from left to right")
    _legend(axes, [(f"width {width}", COLOURS[i], MARKERS[i]) for i, width in enumerate(widths)])


def guidance(figure: Any, study: Study) -> None:
    """Distance by guidance scale, and beside it precision, recall and what is recognised."""
    points = series.guided(study)
    left, right = figure.subplots(1, 2)
    scales = [point.guidance_scale for point in points]
    left.plot(scales, [point.quality.distance for point in points], "o", color=COLOURS[0])
    left.set_ylabel(DISTANCE)
    for i, name in enumerate(("precision", "recall", "recognised")):
        right.plot(scales, [getattr(point.quality, name) for point in points], MARKERS[i + 1], color=COLOURS[i + 1])
    right.set_ylabel("share of pictures")
    right.set_ylim(0.0, 1.02)
    for axes in (left, right):
        axes.set_xlabel("guidance scale (cfg)")
    _legend(right, [(n, COLOURS[i + 1], MARKERS[i + 1]) for i, n in enumerate(("precision", "recall", "recognised"))])


PLOTS: dict[str, Drawn] = {
    "gflops": gflops,
    "training": training,
    "compute": compute,
    "blocks": blocks,
    "sampling": sampling,
    "guidance": guidance,
}


def study_checkpoints(study: Study) -> list[int]:
    """The steps at which quality was measured."""
    return sorted({point.step for point in study.points})


def _widths(study: Study) -> list[int]:
    return [size["hidden_size"] for size in study.about["plan"]["sizes"]]


def _patches(study: Study) -> list[int]:
    patches: list[int] = study.about["plan"]["patches"]
    return patches


def _logarithmic(axes: Any, label: str) -> None:
    """Both axes by their logarithm: distances span a decade or two, as the compute does."""
    from matplotlib.ticker import LogFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.6)))
    axes.set_xlabel(label)
    axes.set_ylabel(DISTANCE)


def _legend(axes: Any, keys: Sequence[tuple[str, str, str]]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, marker=marker, linestyle="", label=name) for name, colour, marker in keys]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
