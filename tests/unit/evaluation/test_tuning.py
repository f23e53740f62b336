from ensemble.evaluation.tuning import Settings, coordinate_search


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
