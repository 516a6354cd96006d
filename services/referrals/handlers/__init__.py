"""Load in sets, decide, append: each function is one transaction's work.

``work`` loads and gathers, ``messages`` answers what other services say, ``advisers`` what
advisers ask, ``deadlines`` what the calendar brings.
"""
