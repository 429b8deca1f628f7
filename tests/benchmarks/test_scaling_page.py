"""What the study's page says follows from its results: series, tables between marks, plots."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling import page, series
from benchmarks.scaling.plan import SMOKE, Plan
from benchmarks.scaling.results import Study, read_study, write_study
from benchmarks.scaling.tables import TABLES
from dit_serve.models.architecture import CONDITIONED
from tests.benchmarks.scaling_studies import written_study

GUIDE = page.DOCS / page.PAGE
STUDY = written_study(Plan())


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_study(tmp_path / "results.json", STUDY)
    assert read_study(tmp_path / "results.json") == STUDY


@pytest.mark.parametrize(
    ("content", "message"), [("{", "cannot be read as JSON"), ("{}", "holds no study of this form")]
)
def test_what_is_no_study_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_study(tmp_path / "results.json")


def test_the_family_is_every_size_and_patch_once_by_its_cost() -> None:
    found = series.final(STUDY)
    assert len(found) == len(Plan().sizes) * len(Plan().patches)
    assert [point.model.gflops for point in found] == sorted(point.model.gflops for point in found)
    assert {(point.step, point.sampling_steps, point.guidance_scale) for point in found} == {(Plan().steps, 20, 1.0)}


def test_the_correlation_is_of_the_logarithm() -> None:
    points = series.final(STUDY)
    falling = [
        replace(point, quality=replace(point.quality, distance=100.0 - 7.0 * np.log(point.model.gflops)))
        for point in points
    ]
    assert series.correlation(falling) == pytest.approx(-1.0)
    assert -1.0 < series.correlation(points) < -0.8
    with pytest.raises(ValueError, match="3 points at least, got 2"):
        series.correlation(points[:2])


def test_a_model_is_told_apart_whose_width_holds_no_token() -> None:
    found = series.wide_enough(STUDY, series.final(STUDY))
    assert {point.model.label for point in found} == {"48/2", "96/2", "144/2", "192/2", "144/4", "192/4"}
    assert [series.token_values(STUDY, point.model) for point in found] == [
        8 * point.model.patch_size**2 for point in found
    ]
    table = TABLES["family"](STUDY)
    assert f"**{series.correlation(found):.2f}** over the 6 points that are at least as wide" in table
    assert "at least as wide" not in TABLES["family"](written_study(SMOKE))  # of none


def test_curves_of_training_have_every_checkpoint_and_all_compute() -> None:
    steps, compute = series.over_training(STUDY), series.over_compute(STUDY)
    assert [curve.x for curve in steps] == [Plan().checkpoints] * 12
    batch = Plan().batch_size
    for by_step, by_compute in zip(steps, compute, strict=True):
        assert by_compute.x == pytest.approx([3 * batch * step * by_step.model.gflops for step in by_step.x])
        assert by_compute.distance == by_step.distance


def test_blocks_are_compared_at_one_size_in_the_papers_order() -> None:
    curves = series.over_training_by_block(STUDY)
    assert [curve.model.conditioning for curve in curves] == list(CONDITIONED)
    assert {curve.model.label for curve in curves} == {"96/2"}


def test_a_guided_step_is_two_passes() -> None:
    plain, *_, most = series.guided(STUDY)
    assert (plain.guidance_scale, most.guidance_scale) == (1.0, 4.0)
    assert most.sampling_gflops == pytest.approx(2 * plain.sampling_gflops) == pytest.approx(40 * plain.model.gflops)


def with_sampled(distances: dict[tuple[int, int], float]) -> Study:
    """The study with these distances of (width, sampling steps), and none that is as good elsewhere."""
    points = tuple(
        replace(p, quality=replace(p.quality, distance=distances.get((p.model.hidden_size, p.sampling_steps), 50.0)))
        for p in STUDY.points
    )
    return replace(STUDY, points=points)


def test_a_model_passes_the_next_smaller_one_with_the_fewest_steps_that_are_better() -> None:
    found = series.passings(with_sampled({(48, 128): 9.0, (96, 16): 8.0, (96, 32): 5.0}))
    smaller, larger = found[0].smaller, found[0].larger
    assert larger is not None
    assert (smaller.sampling_steps, larger.sampling_steps, larger.model.hidden_size) == (128, 16, 96)
    assert found[1].smaller.sampling_steps == 32
    assert found[1].larger is None
    assert len(found) == len(Plan().sizes) - 1


def test_a_point_is_overtaken_by_a_smaller_model_of_no_more_compute_alone() -> None:
    everywhere = {(size.hidden_size, steps): 50.0 for size in Plan().sizes for steps in Plan().ladder}
    assert series.overtaken(with_sampled(everywhere)) == []
    cheap = series.overtaken(with_sampled({**everywhere, (48, 4): 40.0}))
    assert len(cheap) == (len(Plan().sizes) - 1) * len(Plan().ladder)  # everything larger takes more
    dear = series.overtaken(with_sampled({**everywhere, (144, 128): 40.0}))  # 4.3 Gflops a picture
    assert [(point.model.hidden_size, point.sampling_steps) for point in dear] == [(192, 128)]


def test_several_seeds_share_a_cell_with_their_range() -> None:
    one, two = TABLES["family"](STUDY), TABLES["family"](written_study(Plan(), (0, 1)))
    assert len(one.splitlines()) == len(two.splitlines())
    assert " to " in two.splitlines()[4]
    assert " to " not in one.splitlines()[4]
    assert "over the 24 points" in two


def test_a_leg_that_was_not_timed_has_no_minutes() -> None:
    legs = tuple(replace(leg, timed_steps=0) if leg.step == Plan().checkpoints[0] else leg for leg in STUDY.trainings)
    assert "| 4.0 |" in TABLES["family"](STUDY)
    assert "| – |" in TABLES["family"](replace(STUDY, trainings=legs))


def test_tables_stand_between_their_marks_and_nothing_else_changes() -> None:
    text = "".join(f"before\n<!-- scaling: {name} -->\nold\n<!-- /scaling -->\nafter\n" for name in TABLES)
    found = page.with_tables(text, STUDY)
    assert "old" not in found
    assert found.count("before\n") == found.count("after\n") == len(TABLES)
    assert all(table(STUDY) in found for table in TABLES.values())
    assert page.with_tables(found, STUDY) == found
    with pytest.raises(ValueError, match="needs the marks of setting, floors"):
        page.with_tables(text.replace("scaling: floors", "scaling: walls"), STUDY)


def test_the_guide_shows_the_results_beside_it() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    study = read_study(page.DOCS / page.FOLDER / "results.json")
    assert page.with_tables(text, study) == text, "run python -m benchmarks.scaling.page"


def test_the_command_writes_page_plots_and_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / page.PAGE).write_text(GUIDE.read_text(encoding="utf-8"), encoding="utf-8")
    write_study(tmp_path / "results.json", written_study(SMOKE))
    arguments = [str(tmp_path / "results.json"), "--docs", str(tmp_path)]
    assert page.main(arguments) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / page.FOLDER).iterdir()}
    assert page.main(arguments) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / page.FOLDER).iterdir()} == first
    assert json.loads(first["results.json"])["about"]["plan"]["steps"] == SMOKE.steps
    text = (tmp_path / page.PAGE).read_text(encoding="utf-8")
    assert all(f"({page.FOLDER}/{name})" in text for name in first if name.endswith(".svg"))
    assert len(first) == 7


def test_without_results_the_command_says_what_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main([str(tmp_path / "none.json")]) == 2
    assert "python -m benchmarks.scaling writes them" in capsys.readouterr().err
