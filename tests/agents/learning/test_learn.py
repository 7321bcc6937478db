"""zswap-gym learn: from a scenario to a champion, a file and a card; what is done is not done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zswap_gym.agents.learning.learn import Wish, learn
from zswap_gym.agents.parallel import InProcess
from zswap_gym.errors import UserError
from zswap_gym.policy.promise import Promise
from zswap_gym.workloads.scenario import load_scenario


def wish(minutes: float = 0.5, seed: int = 1) -> Wish:
    return Wish(load_scenario("noisy-neighbour"), Promise(), minutes, seed)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not empty and no earlier learn wrote it"):
        learn(wish(), tmp_path, InProcess(), lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("changed", ["seed", "minutes", "promise", "scenario"])
def test_a_folder_goes_on_with_the_same_wish_only(tmp_path: Path, changed: str) -> None:
    facts = {**wish().facts(), "spent_s": 1.0, changed: "another"}
    (tmp_path / "learn.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=f"was begun with another {changed}"):
        learn(wish(), tmp_path, InProcess(), lambda _: None)


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "learn.json").write_text("{")
    with pytest.raises(UserError, match=r"learn\.json: cannot be read"):
        learn(wish(), tmp_path, InProcess(), lambda _: None)


@pytest.mark.slow  # half a minute of learning, and what chooses a champion
def test_from_a_scenario_to_a_champion_and_its_card(tmp_path: Path) -> None:
    said: list[str] = []
    told = learn(wish(), tmp_path, InProcess(), lambda now: said.append(now.what))
    assert [
        name for name in ("tuning promise", "tuning promotion", "tuning aimd", "learning") if name in said
    ]
    kind = told["champion"]["kind"]
    assert (tmp_path / ("policy.npz" if kind == "policy" else "rule.yaml")).is_file()
    card = (tmp_path / "card.md").read_text()
    assert told["champion"]["policy"] in card
    assert "noisy-neighbour" in card
    assert told["champion"]["kept"] >= told["best_rule"]["kept"] or kind == "policy"
    again = learn(wish(), tmp_path, InProcess(), lambda _: None)
    assert again == told
