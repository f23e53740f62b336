from ensemble.evaluation.baselines.grids import GRIDS, STARTS
from ensemble.evaluation.history import Unit
from ensemble.evaluation.tuning import BUDGET, Settings, coordinate_search


def test_the_search_finds_the_top_of_a_hill_and_asks_once_for_each_setting() -> None:
    asked: list[tuple[int, int]] = []

    def score(settings: Settings) -> float:
        asked.append((settings["x"], settings["y"]))
        # The best y depends on x, so that one round isn't enough.
        return -float(4 * (settings["x"] - 3) ** 2 + (settings["y"] - settings["x"]) ** 2)

    found = coordinate_search(score, {"y": range(6), "x": range(6)}, [{"x": 0, "y": 5}, {"x": 1, "y": 1}], sweeps=9)
    assert found.settings == {"x": 3, "y": 3}
    assert found.score == 0.0
    assert len(asked) == len(set(asked)) == found.tried


def test_the_search_starts_from_the_best_start() -> None:
    found = coordinate_search(lambda settings: settings["x"], {}, [{"x": 1}, {"x": 4}, {"x": 2}])
    assert found.settings == {"x": 4}


def test_no_more_settings_are_tried_than_the_budget_allows() -> None:
    asked: list[int] = []

    def score(settings: Settings) -> float:
        asked.append(settings["x"])
        return float(settings["x"])

    found = coordinate_search(score, {"x": range(100)}, [{"x": 50}], budget=7)
    assert asked == [50, 0, 1, 2, 3, 4, 5]
    assert (found.settings, found.score, found.tried) == ({"x": 50}, 50.0, 7)


def test_decayed_frequency_s_budget_reaches_a_neighbour_of_what_was_once_best_in_every_setting() -> None:
    best = {"half_life": 12.0, "backoff": 1.0, "unit": Unit.TRIP, "popularity_half_life": 0.5}
    asked: list[Settings] = []

    def score(settings: Settings) -> float:
        asked.append(settings)
        return -float(sum(settings[name] != value for name, value in best.items()))

    found = coordinate_search(score, GRIDS["decayed frequency"], STARTS["decayed frequency"])
    assert (found.settings, found.score) == (best, 0.0)
    assert found.tried <= BUDGET
    for name, values in GRIDS["decayed frequency"].items():
        assert {settings[name] for settings in asked} >= set(values)


def test_every_start_names_every_setting_that_is_tried() -> None:
    assert all(set(GRIDS[name]) <= set(start) for name in GRIDS for start in STARTS[name])
