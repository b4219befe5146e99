"""The flows that decide: the only place that knows the order of the checks."""

from .admit import Guard
from .cleared import Cleared
from .judge import Judgement, judge, judge_failure
from .sampling import Sampling
from .settle import Outcome, settle
from .steps import Ports

__all__ = [
    "Cleared",
    "Guard",
    "Judgement",
    "Outcome",
    "Ports",
    "Sampling",
    "judge",
    "judge_failure",
    "settle",
]
