"""The artifacts gateway: what lets a node read exactly the artifacts that it was assigned.

``tickets`` and ``ranges`` decide and are pure; ``tokens``, ``artifacts`` and ``certificates`` fetch what
the decision needs; ``server`` speaks HTTP and nothing else.
"""
