"""What a run says about its future: an alarm when a metric turns, and advice on what to do next."""

from veriloop.diagnose.advice import Advice, Estimate, advise
from veriloop.diagnose.alarms import Alarm, alarm

__all__ = ["Advice", "Alarm", "Estimate", "advise", "alarm"]
