"""The study's tables in markdown, each a function of the study.

Several seeds share a cell: their mean, and the range of their distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from benchmarks import report
from benchmarks.scaling import series
from benchmarks.scaling.plan import BEST_BLOCK
from benchmarks.scaling.results import Measured, Model, Study

PAPERS_CORRELATION = -0.93  # figure 8 of the paper
FLOOR_NAMES = {"train": "train pictures", "restored": "test pictures, encoded and decoded"}
QUALITY_HEADS = ("distance", "precision", "recall", "recognised")


def setting(study: Study) -> str:
    """What was trained, for how long and on what machine."""
    about, plan = study.about, study.about["plan"]
    seconds = [training.whole_seconds or 0.0 for training in study.trainings]
    sampled = sum(point.processor_seconds for point in study.points)
    rows = [
        ("pictures", f"{about['train_pictures']:,} to train on, {about['test_pictures']:,} to test with"),
        ("pixels", f"{plan['resolution']} x {plan['resolution']}"),
        ("latents", f"{about['latent_channels']} channels, down-sampled {about['downsampling']} times"),
        ("trainings", f"{len(study.models())}, {plan['steps']:,} steps of {plan['batch_size']} pictures each"),
        ("seeds", ", ".join(map(str, sorted({model.seed for model in study.models()})))),
        ("points", f"{len(study.points)}, {plan['pictures']:,} pictures each"),
        (
            "sampling",
            f"{plan['sampling_steps']} steps of {about['sampler'].upper()}, cfg 1, where nothing else is said",
        ),
        ("processor time", f"{sum(seconds) / 60:.0f} minutes of training, {sampled / 60:.0f} of sampling and judging"),
        ("machine", "; ".join(dict.fromkeys(training.machine for training in study.trainings))),
        ("autoencoder", f"SHA-256 {about['autoencoder_sha256'][:16]}… of its files"),
        ("judge", f"SHA-256 {about['judge_sha256'][:16]}… of its weights"),
    ]
    return report.table(("what", ""), rows)


def floors(study: Study) -> str:
    """The quality of pictures that no model made."""
    rows = [
        (FLOOR_NAMES[name], q.pictures, f"{q.distance:.2f}", *map(share, (q.precision, q.recall, q.recognised)))
        for name, q in study.floors.items()
    ]
    return report.table(("pictures", "how many", *QUALITY_HEADS), rows)


def family(study: Study) -> str:
    """The family at the end of its training, and the correlation."""
    points = series.final(study)
    groups = _by_network(points)
    rows = [(*_described(study, group[0].model), _minutes(study, group), *_qualities(group)) for group in groups]
    network = ("width/patch", "tokens", "values a token", "parameters", "Gflops")
    heads = (*network, "processor minutes of training", *QUALITY_HEADS)
    found = f"Correlation of log Gflops and distance: {_correlation(points)} (the paper's: {PAPERS_CORRELATION:.2f})"
    wide = series.wide_enough(study, points)
    if 3 <= len(wide) < len(points):
        found += f"; {_correlation(wide)} that are at least as wide as a token has values, as all of the paper's are"
    return f"{_plot('gflops')}\n{report.table(heads, rows)}\n{found}.\n"


def _correlation(points: Sequence[Measured]) -> str:
    return f"**{series.correlation(points):.2f}** over the {len(points)} points"


def training(study: Study) -> str:
    """Distances of the family over training."""
    points = [p for p in series.plainly_sampled(study) if p.model.conditioning == BEST_BLOCK]
    table = _over_training(points, "width/patch", lambda model: model.label)
    return f"{_plot('training')}\n{table}\n{_plot('compute')}"


def blocks(study: Study) -> str:
    """Distances of the four blocks over training."""
    networks = {curve.model for curve in series.over_training_by_block(study)}
    points = [p for p in series.plainly_sampled(study) if p.model in networks]
    points.sort(key=lambda point: series.BLOCK_ORDER[point.model.conditioning])
    return f"{_plot('blocks')}\n{_over_training(points, 'block', lambda model: model.conditioning)}"


def sampling(study: Study) -> str:
    """Distances by sampling steps and model, and what more steps make of a smaller model."""
    points = series.sampling_points(study)
    networks = _by_network(points)
    rows = []
    for steps in study.about["plan"]["ladder"]:
        own = [[p for p in group if p.sampling_steps == steps] for group in networks]
        rows.append((steps, *(f"{_spread(own)} ({own[0].sampling_gflops:.3g})" for own in own)))
    table = report.table(("steps", *(f"{group[0].model.label}: distance (Gflops)" for group in networks)), rows)
    passings = [(_in_words(each.smaller), _in_words(each.larger)) for each in series.passings(study)]
    passed = report.table(
        ("a model at its best", "the next larger one with the fewest steps that are better"), passings
    )
    count = f"{len(series.overtaken(study))} of these {len(points)} points are overtaken"
    return f"{_plot('sampling')}\n{table}\n{passed}\n{count}: a smaller model of no more compute is better.\n"


def _in_words(point: Measured | None) -> str:
    """Whose point, with how many steps, what it takes and how good it is."""
    if point is None:
        return "none"
    what = f"{point.model.label}, {point.sampling_steps} steps, {point.sampling_gflops:.3g} Gflops"
    return f"{what}: {point.quality.distance:.2f}"


def guidance(study: Study) -> str:
    """The largest model by guidance scale."""
    points = series.guided(study)
    scales = sorted({point.guidance_scale for point in points})
    rows = [(f"{scale:g}", *_qualities([p for p in points if p.guidance_scale == scale])) for scale in scales]
    return f"{_plot('guidance')}\n{report.table(('cfg', *QUALITY_HEADS), rows)}"


TABLES: dict[str, Callable[[Study], str]] = {
    "setting": setting,
    "floors": floors,
    "family": family,
    "training": training,
    "blocks": blocks,
    "sampling": sampling,
    "guidance": guidance,
}


def share(value: float) -> str:
    return f"{value:.3f}"


def _plot(name: str) -> str:
    return f"![{name}](scaling/{name}.svg)\n"


def _by_network(points: Sequence[Measured]) -> list[list[Measured]]:
    """Points in groups of one network each, whatever its seed, in the order in which they come."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for point in points:
        groups.setdefault((point.model.label, point.model.conditioning), []).append(point)
    return list(groups.values())


def _described(study: Study, model: Model) -> tuple[str, int, int, str, str]:
    values = series.token_values(study, model)
    return model.label, model.tokens, values, f"{model.parameters:,}", f"{model.gflops:.4g}"


def _minutes(study: Study, group: Sequence[Measured]) -> str:
    """Processor minutes of these runs' whole trainings, on average; a dash where a leg was not timed."""
    runs = [[t.whole_seconds for t in study.trainings if t.run == point.model.run] for point in group]
    if any(seconds is None for legs in runs for seconds in legs):
        return "–"
    return f"{fmean(sum(seconds or 0.0 for seconds in legs) for legs in runs) / 60:.1f}"


def _qualities(points: Sequence[Measured]) -> tuple[str, ...]:
    return (_spread(points), *(share(fmean(getattr(p.quality, name) for p in points)) for name in QUALITY_HEADS[1:]))


def _spread(points: Iterable[Measured]) -> str:
    """Distances of several seeds: their mean, and their range where there are several."""
    found = [point.quality.distance for point in points]
    if len(found) == 1:
        return f"{found[0]:.2f}"
    return f"{fmean(found):.2f} ({min(found):.2f} to {max(found):.2f})" if found else "–"


def _over_training(points: Sequence[Measured], head: str, name: Callable[[Model], str]) -> str:
    """One row a network, one column a checkpoint."""
    steps = sorted({point.step for point in points})
    rows = []
    for group in _by_network(points):
        cells = [_spread(point for point in group if point.step == step) for step in steps]
        rows.append((name(group[0].model), f"{group[0].model.gflops:.4g}", *cells))
    return report.table((head, "Gflops", *(f"{step:,} steps" for step in steps)), rows)
