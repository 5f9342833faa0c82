"""When a decision is filled, and what trading, borrowing and idle cash cost or earn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from quantlr.types import Number, Spec

BASIS_POINT = 1e-4
Rate = Annotated[Number, Field(ge=0, le=1_000)]
Fill = Literal["next_close", "next_open", "close"]


class ExecutionSpec(Spec):
    """How decisions become trades."""

    fill: Fill = Field(
        "next_close",
        description="Price at which a decision made at a close is filled: the next close, the next open, or that very "
        "close (the textbook's convention, which nobody can trade).",
    )
    commission_bps: Rate = Field(1.0, description="Per traded side, in basis points of what is traded.")
    slippage_bps: Rate = Field(2.0, description="Per traded side, in basis points of what is traded.")
    borrow_bps_per_year: Rate = Field(50.0, description="On what is held short, in basis points per year.")
    cash_rate: Annotated[Number, Field(ge=-0.5, le=1)] = Field(
        0.0, description="Interest on what is not invested, per year as a fraction (0.03 is 3 percent)."
    )

    @property
    def rate(self) -> float:
        """Cost of a trade, as a fraction of what is traded, one side."""
        return (self.commission_bps + self.slippage_bps) * BASIS_POINT

    @property
    def delay(self) -> int:
        """Sessions from a decision to its fill."""
        return 0 if self.fill == "close" else 1
