"""optimize-graph: ONNX Runtime's own rewriting, done once at build time instead of at every start of a node."""

from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.canonicalize import rewrite, tidy
from edgewright_build.session import Level, open_session


def run(given: PassInput) -> PassOutput:
    """Return the rewritten model.

    The option ``level`` is Basic or Extended. What lies above bakes this machine's memory layout (NCHWc) into the
    file and is left to the node. ``fusedOperators`` is how many operators run as part of another one once a node
    has loaded the file, so a QDQ model whose pairs do not fuse shows it here.

    Raises:
        ValueError: ``level`` would bind the file to this processor.
    """
    level = Level(given.options["level"])
    if level not in (Level.BASIC, Level.EXTENDED):
        raise ValueError(f"level {level} binds the file to this processor")
    source = given.read("model")
    before = graph.parse(source)
    model = graph.parse(rewrite(source, level))
    tidy(model)
    model.ir_version = before.ir_version
    if graph.interface(model) != graph.interface(before):
        raise AssertionError("optimize-graph changed the interface")
    data = graph.dump(model)
    open_session(data)
    running = graph.operators(graph.parse(rewrite(data, Level.EXTENDED)))
    nodes_before = sum(graph.operators(before).values())
    facts = {
        "level": str(level),
        "nodesBefore": nodes_before,
        "nodes": sum(graph.operators(model).values()),
        "nodesRunning": sum(running.values()),
        "fusedOperators": nodes_before - sum(running.values()),
        "operatorsRunning": running,
    }
    return PassOutput(data, facts)
