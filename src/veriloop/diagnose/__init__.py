"""What a run says about its future: an alarm when a metric turns, and advice on what to do next."""

from veriloop.diagnose.advice import Advice, advise
from veriloop.diagnose.alarms import Alarm, alarm
from veriloop.diagnose.estimates import Estimate

__all__ = ["Advice", "Alarm", "Estimate", "advise", "alarm"]
