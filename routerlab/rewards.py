"""The relative outcome reward: what an action is paid, given what answering directly would do.

Rewards are opinions, computed from a table of facts and never stored. The file ends with the
alignment report, which says how much accuracy a reward's own optimum gives away. How a policy
learns from rewards is elsewhere (`policy/objectives`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routerlab.errors import UserError, unknown
from routerlab.statistics import Floats, call_rate, routed, share
from routerlab.types import OutcomeTable


@dataclass(frozen=True)
class Cells:
    """The six numbers of a relative outcome reward.

    With d = direct answer right, t = answer with the tool right:

    | action | d | t | cell |
    |---|---|---|---|
    | tool | 0 | 1 | `fix` |
    | tool | 1 | 0 | `break_` |
    | tool | 1 | 1 | `redundant_right` |
    | tool | 0 | 0 | `redundant_wrong` |
    | direct | 1 | - | `direct_right` |
    | direct | 0 | - | `direct_wrong` |
    """

    fix: float
    break_: float
    redundant_right: float
    redundant_wrong: float
    direct_right: float
    direct_wrong: float


PRESETS: Mapping[str, Cells] = {
    "relative": Cells(1.0, -1.0, -0.05, -0.05, 0.05, 0.0),
    "paper_guess": Cells(1.0, -1.0, -0.1, -0.1, 1.0, 0.0),
    "autagent": Cells(1.0, -1.0, 0.0, 0.0, 0.0, 0.0),
    "vista": Cells(1.0, -0.5, 1.0, 0.0, 1.0, 0.0),
}


class RelativeOutcomeReward:
    """Rewards of all actions of all rows at once.

    Args:
        preset: one of `PRESETS`; a cell given as well replaces the preset's.
        graded: from 0 to 1, how much of what counts as right is how probable the reasoner found
            the right option; the rest is whether it chose it. A lucky guess then earns less, and
            a narrow miss costs less. Needs a reasoner that gives log-probabilities.

    >>> reward = RelativeOutcomeReward("relative")
    >>> reward(np.array([[False, True, False], [True, True, False]]))
    array([[ 0.  ,  1.  , -0.05],
           [ 0.05, -0.05, -1.  ]])
    >>> reward(np.array([[0.5, 0.9]])).round(3)  # .45 fix, .05 break, .5 redundant
    array([[0.025, 0.375]])
    """

    def __init__(
        self,
        preset: str = "relative",
        *,
        graded: float = 0.0,
        fix: float | None = None,
        break_: float | None = None,
        redundant_right: float | None = None,
        redundant_wrong: float | None = None,
        direct_right: float | None = None,
        direct_wrong: float | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise UserError(unknown("reward: no preset", preset, PRESETS))
        given = {
            "fix": fix,
            "break_": break_,
            "redundant_right": redundant_right,
            "redundant_wrong": redundant_wrong,
            "direct_right": direct_right,
            "direct_wrong": direct_wrong,
        }
        if not 0 <= graded <= 1:
            raise UserError(f"reward: graded {graded:g} must be in [0, 1].")
        self.preset, self.graded = preset, graded
        self.cells = replace(PRESETS[preset], **{k: v for k, v in given.items() if v is not None})
        _refuse_odd_numbers(self.cells)

    def __call__(self, right: Any) -> Any:
        """Rewards [N, A] of `right` [N, A], whose column 0 is direct.

        Args:
            right: whether each answer is right (bool), or how probably (floating, in [0, 1]). The
                reward is linear in both answers' outcomes, so of probabilities it is the expected
                one, as if the two answers were drawn apart.

        Takes numpy (and gives float64) or torch (and gives torch's default float, on the same
        device). Invalid cells must be masked by the caller.
        """
        kind = str(right.dtype)
        if right.ndim != 2 or not (kind.endswith("bool") or "float" in kind):
            raise ValueError(f"right must be bool or floating [N, A], not {kind} {right.shape}")
        c, t = self.cells, right * 1.0
        d = t[:, :1]
        rewards = (
            c.fix * (1 - d) * t
            + c.break_ * d * (1 - t)
            + c.redundant_right * d * t
            + c.redundant_wrong * (1 - d) * (1 - t)
        )
        rewards[:, :1] = c.direct_right * d + c.direct_wrong * (1 - d)
        return rewards

    def on(self, table: OutcomeTable) -> Floats:
        """Rewards [N, A] of a table's rows; 0 where a call failed, or direct did."""
        verdicts, chances = table.correct.astype(np.float64), table.chances
        rewards: Floats = self((1 - self.graded) * verdicts + self.graded * chances)
        return np.where(table.valid & table.valid[:, :1], rewards, 0.0)

    def unusable(self, table: OutcomeTable) -> list[str]:
        """What of these settings such a table gives no ground for, one line each."""
        if not self.graded or not len(table) or (table.chances != table.correct).any():
            return []
        return [
            f"reward: graded {self.graded:g}, but no answer of the reasoner has log-probabilities, "
            "so verdicts are paid. Ask by likelihood, or leave it out."
        ]

    def expected_gain(self, *, wr: float, rw: float, rr: float, ww: float) -> float:
        """E[R_tool] - E[R_direct], of the chances that direct is wrong and the tool right, ….

        >>> mixed = dict(wr=0.25, rw=0.10, rr=0.55, ww=0.10)  # the tool adds 15 points
        >>> for preset in ("relative", "paper_guess"):
        ...     round(RelativeOutcomeReward(preset).expected_gain(**mixed), 4)
        0.085
        -0.565
        """
        c = self.cells
        return (
            wr * (c.fix - c.direct_wrong)
            + rw * (c.break_ - c.direct_right)
            + rr * (c.redundant_right - c.direct_right)
            + ww * (c.redundant_wrong - c.direct_wrong)
        )

    def problems(self) -> list[str]:
        """What is unwise about these cells, one line each with what to change; [] if nothing.

        >>> RelativeOutcomeReward("relative").problems()
        []
        >>> print(RelativeOutcomeReward(redundant_wrong=0.2).problems()[0])
        reward: useless calls are paid: redundant_wrong 0.2 > direct_wrong 0. Lower redundant_wrong.
        """
        c = self.cells
        fix_pays, break_costs = c.fix - c.direct_wrong, c.direct_right - c.break_
        vote, tie = c.direct_right - c.redundant_right, c.direct_wrong - c.redundant_wrong
        checks = [
            (fix_pays <= 0, f"a fix does not pay: fix {c.fix:g} <= direct_wrong "
             f"{c.direct_wrong:g}. Raise fix."),
            (break_costs <= 0, f"a break costs nothing: break_ {c.break_:g} >= direct_right "
             f"{c.direct_right:g}. Lower break_."),
            (tie < 0, f"useless calls are paid: redundant_wrong {c.redundant_wrong:g} > "
             f"direct_wrong {c.direct_wrong:g}. Lower redundant_wrong."),
            (vote < 0, f"needless calls are paid: redundant_right {c.redundant_right:g} > "
             f"direct_right {c.direct_right:g}. Lower redundant_right."),
            (0 < fix_pays < 2 * vote, f"every question that both ways get right casts {vote:g} "
             f"against the tool, and a fix only {fix_pays:g} for it. Lower direct_right."),
            (fix_pays > 0 and not 0.8 <= break_costs / fix_pays <= 1.25,
             f"a break costs {break_costs:g} and a fix pays {fix_pays:g}; accuracy weighs them "
             "equally. Bring direct_right - break_ and fix - direct_wrong together."),
            (vote == 0 and tie == 0, "a redundant call is free, so group-normalised objectives "
             "cannot tell this reward from plain correctness. Lower redundant_right and "
             "redundant_wrong a little."),
        ]  # fmt: skip
        return [f"reward: {text}" for wrong, text in checks if wrong]


def _refuse_odd_numbers(cells: Cells) -> None:
    odd = [f.name for f in fields(cells) if not math.isfinite(getattr(cells, f.name))]
    if odd:
        raise UserError(
            f"reward: {', '.join(odd)} must be finite numbers, not {asdict(cells)[odd[0]]}."
        )


# -- the alignment report -------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """What following one reward to its optimum costs in accuracy, for a router that sees `sees`.

    Attributes:
        reward: its name.
        accuracy: of the policy that takes the highest expected reward.
        best: of the policy that takes the highest expected correctness, from the same estimates.
        given_away: best - accuracy, in [-1, 1]; what the reward costs.
        calls, best_calls: the two policies' call rates.
    """

    reward: str
    accuracy: float
    best: float
    given_away: float
    calls: float
    best_calls: float


def alignment_report(
    table: OutcomeTable,
    sees: NDArray[Any] | Sequence[Any],
    rewards: Mapping[str, RelativeOutcomeReward] | RelativeOutcomeReward | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> list[Alignment]:
    """How much accuracy each reward's own optimum gives away on this table.

    Row by row every sensible reward agrees with accuracy, because a row shows which action was
    right. A router does not see that: it acts on chances. So (p_wr, p_rw, p_rr, p_ww) of each tool
    are estimated from what a router can see, on other rows than those they are scored on.

    Args:
        table: rows with an invalid cell are left out.
        sees: [N] labels (a wording, a latent cell), or [N, F] numbers (features of the question).
        rewards: by name; the presets if not given.
        folds: cross-fitting folds, at least 2.
    """
    if folds < 2:
        raise UserError(f"alignment: folds must be at least 2, not {folds}.")
    whole = np.asarray(table.valid.all(axis=1))
    rows = table.select(whole)
    if len(rows) < folds:
        raise UserError(f"alignment: {len(rows)} usable rows are too few for {folds} folds.")
    named = {rewards.preset: rewards} if isinstance(rewards, RelativeOutcomeReward) else rewards
    named = named or {name: RelativeOutcomeReward(name) for name in PRESETS}
    features = _as_features(np.asarray(sees)[whole])
    right = rows.correct.astype(np.float64)
    best = _cross_fitted_choice(features, right, folds, seed)
    best_accuracy, report = share(routed(rows, best)), []
    for name, reward in named.items():
        # A reward's mean is linear in the four chances: estimating it is estimating them.
        chosen = _cross_fitted_choice(features, reward.on(rows), folds, seed)
        accuracy = share(routed(rows, chosen))
        report.append(
            Alignment(
                name,
                accuracy,
                best_accuracy,
                best_accuracy - accuracy,
                call_rate(chosen),
                call_rate(best),
            )
        )
    return report


def _cross_fitted_choice(features: Floats, payoff: Floats, folds: int, seed: int) -> NDArray[Any]:
    """The action [N] of highest estimated payoff, by ridge regression fitted on other rows."""
    from sklearn.linear_model import RidgeCV  # half a second, needed here only

    rows = len(payoff)
    fold = np.random.default_rng(seed).permutation(rows) % folds
    chosen = np.zeros(rows, dtype=np.int64)
    # The gain over direct is estimated, not each payoff: a tie then goes to direct.
    advantage = payoff[:, 1:] - payoff[:, :1]
    for held_out in (fold == k for k in range(folds)):
        model = RidgeCV(alphas=np.logspace(-1, 4, 11)).fit(
            features[~held_out], advantage[~held_out]
        )
        gain = model.predict(features[held_out]).reshape(int(held_out.sum()), -1)
        chosen[held_out] = np.where(gain.max(axis=1) > 0, gain.argmax(axis=1) + 1, 0)
    return chosen


def _as_features(sees: NDArray[Any]) -> Floats:
    """Labels become one column each; numbers are centred and scaled. Always float64 [N, F]."""
    if sees.ndim == 1:
        return np.asarray(sees[:, None] == np.unique(sees)[None, :], dtype=np.float64)
    numbers = np.asarray(sees, dtype=np.float64)
    spread = numbers.std(axis=0)
    return np.asarray((numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
