"""What a turn uses, as far as the agent says, and the limits of it. Pure."""

from typing import Any, NamedTuple

from msgspec import Struct

from treadle.agents.config import Budget, ThreadBudget, TurnBudget
from treadle.agents.shapes import Json, as_object
from treadle.domain.entities import Spent
from treadle.domain.ids import BudgetLimit, BudgetScope


class Reached(NamedTuple):
    """A limit that was reached."""

    scope: BudgetScope
    limit: BudgetLimit
    amount: float
    spent: float

    @property
    def sentence(self) -> str:
        """What is said to people."""
        return f"the budget of the {self.scope} is reached: {self.limit} {self.spent:,.10g} of {self.amount:,.10g}"


class TurnUsage(Struct):
    """What the running turn has used. total: what the session has cost when the turn began; agents say only the sum."""

    total: float = 0.0
    used: int | None = None
    size: int | None = None
    cost: float | None = None
    currency: str | None = None
    tokens: int | None = None

    def begin(self) -> None:
        """A turn begins: the costs of the one before are not its own."""
        self.total += self.cost or 0.0
        self.used = self.size = self.cost = self.tokens = None

    def note(self, update: Json) -> None:
        """Take over a usage_update."""
        self.used, self.size = _count(update.get("used")), _count(update.get("size"))
        cost = as_object(update.get("cost"))
        amount, currency = cost.get("amount"), cost.get("currency")
        if isinstance(amount, int | float) and not isinstance(amount, bool):
            if amount < self.total:  # the session counts from zero again
                self.total = 0.0
            self.cost = amount - self.total
            self.currency = currency[:128] if isinstance(currency, str) and currency else None

    def answered(self, usage: Any) -> None:
        """Take over the `usage` of the answer to the prompt: the tokens of the whole turn."""
        usage = as_object(usage)
        total = _count(usage.get("totalTokens"))
        parts = [_count(usage.get(name)) for name in ("inputTokens", "outputTokens")]
        self.tokens = total if total is not None else sum(part or 0 for part in parts) or None

    def fields(self) -> dict[str, Any]:
        """The fields of ReportUsage; empty if the agent said nothing."""
        found = {name: getattr(self, name) for name in ("used", "size", "cost", "tokens")}
        found = {name: value for name, value in found.items() if value is not None}
        return {**found, **({"currency": self.currency} if self.cost is not None and self.currency else {})}

    def reached(self, budget: Budget, before: Spent | None) -> Reached | None:
        """The limit that is reached, if any. before: what the earlier turns of the thread used."""
        tokens = self.tokens if self.tokens is not None else self.used
        of_thread = (before.cost or 0.0, before.tokens or 0) if before else (0.0, 0)
        scopes: tuple[tuple[BudgetScope, TurnBudget | ThreadBudget, float, int], ...] = (
            ("turn", budget.turn, 0.0, 0),
            ("thread", budget.thread, *of_thread),
        )
        for scope, limits, cost_before, tokens_before in scopes:
            if limits.cost is not None and self.cost is not None and cost_before + self.cost >= limits.cost:
                return Reached(scope, "cost", limits.cost, cost_before + self.cost)
            if limits.tokens is not None and tokens is not None and tokens_before + tokens >= limits.tokens:
                return Reached(scope, "tokens", limits.tokens, tokens_before + tokens)
        return None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
