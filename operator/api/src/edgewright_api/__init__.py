"""Edgewright's contract: what users write, what the pieces exchange, and the pure rules that decide.

Needs pydantic and nothing else, so an operator never installs a runtime and a builder never installs a
Kubernetes client. Everything here is a value or a pure function: no I/O, no clock, no randomness.
"""

GROUP = "edgewright.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
__version__ = "0.1.0"
