"""What a CustomResourceDefinition says about a kind beside its schema."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``; ``priority`` 1 shows it only with ``-o wide``."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule over the whole object."""

    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Kind:
    """Names, scope, whole-object rules and columns of a kind."""

    kind: str
    plural: str
    short: str
    namespaced: bool
    rules: tuple[Rule, ...] = ()
    columns: tuple[Column, ...] = ()
    has_status: bool = True


def name_fits() -> Rule:
    """Names of user kinds leave room for the suffix of what is derived from them."""
    return Rule("size(self.metadata.name) <= 52", "metadata.name has at most 52 characters")
