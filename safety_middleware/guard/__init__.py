"""The flows that decide: the only place that knows the order of the checks."""

from .admit import Guard
from .cleared import Cleared
from .judge import Judgement, judge, judge_failure
from .settle import Outcome, settle
from .steps import Ports

__all__ = ["Cleared", "Guard", "Judgement", "Outcome", "Ports", "judge", "judge_failure", "settle"]
