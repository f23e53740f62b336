from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ensemble import contract
from ensemble.ranking import RankingSettings, rank
from ensemble.releases.check import differences, probes, serving
from ensemble.releases.check.asking import Answer
from ensemble.releases.golden import GOLDEN, Golden
from tests.conftest import REPOSITORY


@pytest.fixture
def rows() -> Any:
    return probes.hard(probes.Known.of(Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN)))


@pytest.fixture
def answer(rows: Any) -> Answer:
    """What the ranking of this tree says where the models say whatever."""
    rng = np.random.default_rng(5)
    said = {spec.name: rng.normal(size=rows["product_id"].shape).astype(np.float32) for spec in serving.MODEL_OUTPUTS}
    made = rows | said
    ranked = rank(**{spec.name: made[spec.name] for spec in contract.RANKING.inputs}, settings=RankingSettings())
    assert ranked.score is not None
    assert ranked.component is not None
    return Answer(ranked.product_id, ranked.score, ranked.component)


def test_a_right_answer_has_no_fault(rows: Any, answer: Answer) -> None:
    assert serving.wrong(rows, answer) == []


def padding_first(answer: Answer) -> None:
    answer.product_id[3] = np.roll(answer.product_id[3], 1)


def excluded_back(answer: Answer) -> None:
    answer.product_id[3, -1] = 77


def twice(answer: Answer) -> None:
    answer.product_id[3, 1] = answer.product_id[3, 0]


def foreign(answer: Answer) -> None:
    answer.product_id[3, 1] = 12


def no_number(answer: Answer) -> None:
    answer.score[3, 1] = np.nan


def no_component(answer: Answer) -> None:
    answer.component[3, 1, 2] = np.inf


def unrankable(answer: Answer) -> None:
    answer.score[3, 1] = np.finfo(np.float32).min


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (padding_first, "don't come back last"),
        (excluded_back, "don't come back last"),
        (twice, "isn't an order"),
        (foreign, "isn't an order"),
        (no_number, "score isn't finite"),
        (no_component, "component isn't finite"),
        (unrankable, "can't be ranked"),
    ],
)
def test_each_wrong_answer_names_the_row(
    change: Callable[[Answer], None], said: str, rows: Any, answer: Answer
) -> None:
    change(answer)
    (fault,) = serving.wrong(rows, answer)
    assert fault.startswith("row 3: ")
    assert said in fault


def test_by_candidate_undoes_the_order(rows: Any, answer: Answer) -> None:
    asked = rows["product_id"]
    by = answer.by_candidate(asked)
    gone = (asked == contract.PADDING) | np.isneginf(rows["boost"])
    assert np.isneginf(by["score"][gone]).all()
    assert not by["place"][gone].any()
    for row in range(len(asked)):
        for column in np.flatnonzero(~gone[row]):
            (place,) = np.flatnonzero(answer.product_id[row] == asked[row, column])
            assert by["place"][row, column] == place + 1
            assert by["score"][row, column] == answer.score[row, place]
            assert (by["component"][row, column] == answer.component[row, place]).all()


def test_neighbours_that_changed_places_are_told_from_others() -> None:
    recorded = np.arange(1, 11)[None]
    served = recorded.copy()
    served[0, [2, 3]] = served[0, [3, 2]]
    assert serving._agreement(served, recorded) == pytest.approx((0.8, 0.2))
    served[0, [5, 8]] = served[0, [8, 5]]
    assert serving._agreement(served, recorded) == pytest.approx((0.6, 0.2))
    assert serving._agreement(recorded, recorded) == (1.0, 0.0)


class Answers:
    """A served release, as far as the differences need it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def explain(self, _rows: object) -> Answer:
        return self._answer


def test_the_component_that_moved_the_order_is_named() -> None:
    golden = Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN)
    asked = probes.rows(probes.Known.of(golden), 64, 256, seed=2)["product_id"]
    component = np.random.default_rng(1).normal(size=(*asked.shape, 3)).astype(np.float32)

    def answer(component: Any) -> Answers:
        score = component.sum(-1)
        order = np.argsort(-score, axis=1, kind="stable")
        taken = np.take_along_axis(component, order[..., None], axis=1)
        return Answers(Answer(np.take_along_axis(asked, order, 1), np.take_along_axis(score, order, 1), taken))

    moved = component.copy()
    moved[..., 1] += np.random.default_rng(2).normal(size=asked.shape)
    moved[..., 0] += 50  # far, but the same for all: it moves nothing
    result = differences.check("personalize_v2", golden, answer(moved), answer(component))  # type: ignore[arg-type] # stand-ins
    assert result.data["moved_most"] == "demand"
    assert result.data["components"]["affinity"]["overlap@10_if_alone"] == 1.0
    assert result.data["components"]["affinity"]["mean"] == pytest.approx(50, abs=0.01)
    same = differences.check("personalize_v2", golden, answer(component), answer(component))  # type: ignore[arg-type] # the same
    assert same.data["overlap@10"] == same.data["overlap@20"] == 1.0
    assert same.data["rank_biased_overlap"] == pytest.approx(1.0)
    assert same.data["moved_most"] is None
    assert same.findings == ()


def test_another_ranking_of_almost_everything_is_a_warning_that_names_the_cause() -> None:
    golden = Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN)
    asked = probes.rows(probes.Known.of(golden), 64, 256, seed=2)["product_id"]
    zeros = np.zeros((*asked.shape, 3), np.float32)
    score = -np.arange(256, dtype=np.float32)[None].repeat(64, 0)
    old = Answer(asked, score, replace_last(zeros, score))
    new = Answer(asked[:, ::-1].copy(), score, replace_last(zeros, score))
    result = differences.check("personalize_v2", golden, Answers(new), Answers(old))  # type: ignore[arg-type] # stand-ins
    (finding,) = result.findings
    assert finding.severity.value == "warning"
    assert "by preference" in finding.what


def replace_last(component: Any, value: Any) -> Any:
    changed = component.copy()
    changed[..., 2] = value
    return changed


def test_golden_files_that_are_not_ours_are_refused(tmp_path: Any) -> None:
    source = REPOSITORY / "personalize_v1" / "1" / GOLDEN
    golden = Golden.load(source)
    golden.save(tmp_path / "same.npz")
    with np.load(source) as one, np.load(tmp_path / "same.npz") as other:
        assert set(one.files) == set(other.files)
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    Golden.load(tmp_path / "same.npz").save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "same.npz").read_bytes()
    from ensemble.errors import RacksortError

    content = source.read_bytes()
    for name, broken in (("cut", content[:5000]), ("empty", b""), ("text", b"hello"), ("swapped", content[::-1])):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(broken)
        with pytest.raises(RacksortError, match=f"{name}.npz: not recorded requests"):
            Golden.load(path)
    replace(golden, ranked_product_id=golden.ranked_product_id[:, :60]).save(tmp_path / "narrow.npz")
    with pytest.raises(RacksortError, match="not a batch of rows of one bucket"):
        Golden.load(tmp_path / "narrow.npz")
    np.savez(tmp_path / "objects.npz", ranked_product_id=np.array([{}], object), allow_pickle=True)
    with pytest.raises(RacksortError, match="not recorded requests"):
        Golden.load(tmp_path / "objects.npz")
    with pytest.raises(RacksortError, match="no such file"):
        Golden.load(tmp_path / "none.npz")
