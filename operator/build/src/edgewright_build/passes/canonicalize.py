"""canonicalize: constants folded, leftovers removed, everything named by its place in the graph.

Two exports of one network that differ in names, comments or unused weights become the same bytes, so whatever
follows is cached once.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import onnx

from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import Level, open_session

_IR_VERSION: Final = 10
"""New enough for every opset up to 21; older runtimes refuse a newer one than they know."""


def run(given: PassInput) -> PassOutput:
    """Return the model in canonical form. Its inputs, outputs and what it computes stay as they were."""
    before = graph.parse(given.read("model"))
    model = graph.parse(rewrite(graph.dump(before), Level.BASIC))
    tidy(model)
    model.ir_version = max(_IR_VERSION, before.ir_version)
    if graph.interface(model) != graph.interface(before):
        raise AssertionError("canonicalize changed the interface")
    onnx.checker.check_model(model)
    facts = {
        "nodesBefore": sum(graph.operators(before).values()),
        "nodes": sum(graph.operators(model).values()),
        "weightsBefore": len(before.graph.initializer),
        "weights": len(model.graph.initializer),
        "operators": graph.operators(model),
    }
    return PassOutput(graph.dump(model), facts)


def rewrite(model: bytes, level: Level) -> bytes:
    """Return what ONNX Runtime makes of a model at a level. Basic and Extended hold no trace of the processor."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rewritten.onnx"
        open_session(model, level=level, save_to=path)
        return path.read_bytes()


def tidy(model: Any) -> None:
    """Drop what is not computed with, order weights by first use, and name nodes and values by their place."""
    for field in ("doc_string", "producer_name", "producer_version", "domain"):
        model.ClearField(field)
    model.ClearField("model_version")
    del model.metadata_props[:]
    body = model.graph
    body.name = "model"
    body.ClearField("doc_string")
    del body.value_info[:]
    del body.metadata_props[:]
    for value in (*body.input, *body.output):
        value.ClearField("doc_string")
        del value.metadata_props[:]
    for part in graph.graphs(model):
        for node in part.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]
    _drop_unused(model)
    _rename(body)
    used = {node.domain for part in graph.graphs(model) for node in part.node} | {""}
    kept = sorted((o for o in model.opset_import if o.domain in used), key=lambda o: str(o.domain))
    opsets = [(str(o.domain), int(o.version)) for o in kept]
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in opsets)


def _drop_unused(model: Any) -> None:
    body = model.graph
    used = {name for part in graph.graphs(model) for node in part.node for name in node.input}
    used |= {o.name for o in body.output}
    weights = {t.name for t in body.initializer}
    kept = [t for t in body.initializer if t.name in used]
    first_use = {name: at for at, name in _uses(model)}
    kept.sort(key=lambda t: (first_use.get(t.name, -1), t.name))
    copies = []
    for tensor in kept:
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor)
        copy.ClearField("doc_string")
        copies.append(copy)
    del body.initializer[:]
    body.initializer.extend(copies)
    inputs = [i for i in body.input if i.name not in weights]
    copied = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in inputs]
    del body.input[:]
    body.input.extend(copied)


def _uses(model: Any) -> list[tuple[int, str]]:
    """Return (place, name) of every use of a value, last use first, so that a dict keeps the first."""
    names = [name for part in graph.graphs(model) for node in part.node for name in node.input]
    return list(reversed(list(enumerate(names))))


def _rename(body: Any) -> None:
    """Rename weights and inner values of the main graph; graphs inside attributes see the outer names too."""
    public = {i.name for i in body.input} | {o.name for o in body.output}
    names: dict[str, str] = {}
    for at, tensor in enumerate(t for t in body.initializer if t.name not in public):
        names[tensor.name] = _free(f"w{at}", public)
    inner = [o for node in body.node for o in node.output if o and o not in public]
    names |= {name: _free(f"v{at}", public) for at, name in enumerate(inner)}
    for tensor in body.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for at, node in enumerate(body.node):
        node.name = f"{node.op_type}_{at}"
    pending = [body]
    while pending:
        part = pending.pop()
        for node in part.node:
            for field in (node.input, node.output) if part is body else (node.input,):
                renamed = [names.get(name, name) for name in field]
                del field[:]
                field.extend(renamed)
            for attribute in node.attribute:
                pending.extend(attribute.graphs)
                if attribute.HasField("g"):
                    pending.append(attribute.g)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
