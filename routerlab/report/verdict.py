"""The survey in words: what routing can gain, which tools make it, what they break, what to do.

Every figure comes from `report.outlook`; this file only decides what is worth a sentence, and says
nothing more surely than its interval allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routerlab.report.outlook import Interval, gain

MOST_OF_IT = 0.8
SURE = 0.05


def verdict(figures: Mapping[str, Any]) -> list[str]:
    """A few sentences, the most important first."""
    if not figures["tools"]:
        return ["There is no tool in this table, so there is nothing to route to."]
    said = [_bound(figures), *_makers(figures), *_breakers(figures), *_foretold(figures)]
    return [*said, *_without_routing(figures), *_rewards(figures), *_flips(figures)]


def plus_minus(it: Interval, digits: int = 1) -> str:
    """A difference in points with half its interval.

    >>> plus_minus((0.094, 0.068, 0.12))
    '9.4 ± 2.6'
    """
    return f"{100 * it[0]:.{digits}f} ± {50 * (it[2] - it[1]):.{digits}f}"


def _bound(figures: Mapping[str, Any]) -> str:
    """How much could be gained at best, by the fairest oracle there is."""
    fair = gain(figures, "oracle_cross_fitted")
    raw = gain(figures, "oracle") or (0.0, 0.0, 0.0)
    direct = 100 * figures["policies"]["direct"]["accuracy"]
    sample = "" if figures["of"] == figures["questions"] else f" of {figures['of']}"
    about = f"direct {direct:.1f} %, {figures['questions']}{sample} questions"
    if fair is not None:
        kind = f"cross-fitted oracle; the raw one, which luck inflates, says {100 * raw[0]:.1f}"
        it = fair
    else:
        kind = "raw oracle, which luck inflates: permuted replicates would say by how much"
        it = raw
    foretold = gain(figures, "predictable")
    if fair is not None and foretold is not None and foretold[0] > fair[0] and foretold[1] > 0:
        # That oracle trusts one draw of a row; a predictor pools many rows, and may know more.
        luck = f"the raw oracle, which luck inflates, says {100 * raw[0]:.1f}"
        return f"Routing can gain about {plus_minus(foretold)} points (foretold; {luck}; {about})."
    if it[1] <= 0:
        return f"No gain from routing is sure: at best {plus_minus(it)} points ({kind}; {about})."
    return f"Routing can gain up to {plus_minus(it)} points ({kind}; {about})."


def _makers(figures: Mapping[str, Any]) -> Iterator[str]:
    """Which few tools make most of what can be fixed."""
    shares = figures["shares"]
    if not shares:
        return
    enough = next((i for i, it in enumerate(shares) if it["share"] >= MOST_OF_IT), len(shares) - 1)
    few = shares[: min(enough, 2) + 1]
    share = f"{100 * few[-1]['share']:.0f} %"
    if few[-1]["share"] >= MOST_OF_IT:
        yield f"{share} of it comes from {_names([it['tool'] for it in few])}."
    else:
        yield f"It is spread: {_names([it['tool'] for it in few])} together make {share} of it."
    idle = [name for name, it in figures["tools"].items() if not it["only"]]
    if idle and len(idle) < len(figures["tools"]):
        yield f"{_names(idle)} {_do(idle, 'fixes', 'fix')} nothing that no other action gets right."


def _breakers(figures: Mapping[str, Any]) -> Iterator[str]:
    """Tools that surely do harm when called blindly."""
    worse = {
        name: it
        for name, it in figures["tools"].items()
        if it["break"] > it["fix"] and it["p"] < SURE
    }
    for name, it in list(worse.items())[:3]:
        yield f"`{name}` breaks more than it fixes ({it['break']} against {it['fix']})."
    if len(worse) > 3:
        yield f"So {_do(worse, 'does', 'do')} {_names(list(worse)[3:])}."


def _foretold(figures: Mapping[str, Any]) -> Iterator[str]:
    """What simple predictors already get of it: a router that learns should do better."""
    it, policies = gain(figures, "predictable"), figures["policies"]
    if it is None:
        few = f"{figures['questions']} questions are too few to foretell anything from."
        yield few if figures["questions"] < 100 else "Nothing was foretold."
        return
    view = policies["predictable"]["name"].removeprefix("foretold.")
    how = {"kNN": "the nearest neighbours by words", "text": "a linear predictor of words"}
    named = how.get(view, f"a linear predictor of {view}")
    if it[1] > 0:
        yield (
            f"{plus_minus(it)} points can be foretold by {named}, cross-fitted: a router "
            "should reach at least that."
        )
    else:
        yield (
            f"None of it is surely foretold by words or simple features ({plus_minus(it)} points, "
            f"{named}): a router would have to find it in the sound."
        )


def _without_routing(figures: Mapping[str, Any]) -> Iterator[str]:
    """What is to be had without a router, so that routing has to beat that and not direct."""
    best = max(figures["tools"], key=lambda name: figures["tools"][name]["accuracy"])
    tried = {
        "best_tool": f"always calling `{best}`",
        "all_outputs": "giving every output at once",
        "vote": "a vote over all actions",
        "permutation_vote": "a vote of direct over permuted options",
        "cascade": "calling the best tool where direct is unsure",
    }
    gains = {text: it for name, text in tried.items() if (it := gain(figures, name)) is not None}
    sure = {text: it for text, it in gains.items() if it[1] > 0}
    if sure:
        most = max(sure, key=lambda text: sure[text][0])
        yield f"Without a router, {most} gains {plus_minus(sure[most])}: that is what to beat."
    elif gains:
        yield "Nothing that needs no router gains surely over direct."


def _rewards(figures: Mapping[str, Any]) -> Iterator[str]:
    """Reward presets whose own optimum is worse than it need be."""
    costly = [it for it in figures["presets"] if it["given_away"] > 0.01 and it["ci95"][0] > 0]
    if costly:
        each = ", ".join(
            f"`{it['reward']}` {plus_minus((it['given_away'], *it['ci95']))}" for it in costly
        )
        yield f"Some rewards' own optimum gives points away here: {each}."


def _flips(figures: Mapping[str, Any]) -> Iterator[str]:
    it = figures["flips"]
    if it and it["answer"] > 0.1:
        yield (
            f"{100 * it['answer']:.0f} % of the answers change when the options are shown in "
            "another order: much of a single table is luck."
        )


def _names(names: Sequence[str]) -> str:
    """Names in backticks with commas and "and".

    >>> _names(["a"]), _names(["a", "b", "c"])
    ('`a`', '`a`, `b` and `c`')
    """
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _do(names: Sequence[str] | Mapping[str, Any], one: str, many: str) -> str:
    return one if len(names) == 1 else many
