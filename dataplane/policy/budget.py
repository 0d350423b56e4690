"""How much of the broker's time the filters of one trigger may take for one event.

Path: filters.py, cesql/compile.py, cel.py, bodypath.py → [budget] → broker/dispatcher.py.

All triggers of a broker are asked in one process, so an expression that is slow for one event holds up the events of
everybody. What it may cost is told beforehand from its text and the sizes of what it looks at; beyond its share of
STEPS_MAX it is not evaluated: the trigger does not match, whatever stands around the expression (a `not`, say), and it
is counted. All expressions of a trigger have equal shares.

Pure: no clock. A step is about a nanosecond.

Source: spec/eventing.md §8.6, §26.15.
"""

STEPS_MAX = 32_000_000


class TooCostly(Exception):
    """The event is not looked at: it could take too long. The message says what is too large."""
