"""Inference requests and answers of the Open Inference Protocol v2, with the binary tensor extension.

A request is a JSON header, alone or followed by the raw bytes of those inputs that name a
``binary_data_size``, in order. The header of a binary request mostly repeats from call to call, so what
follows from it, a ``Plan``, can be kept and applied to the next body (``Codec.plans``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import orjson

from edgewright_node.serving import tensors
from edgewright_node.serving.datatypes import BYTES, DTYPES, Array
from edgewright_node.serving.engines.base import TensorSpec
from edgewright_node.serving.errors import InvalidRequest

MAX_PLANS: Final = 256
"""Plans kept per model revision; the oldest goes first."""

MAX_PLANNED_BYTES: Final = 4096
"""A header longer than this is parsed each time: it would cost memory and repeats rarely."""

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Name = Annotated[str, msgspec.Meta(max_length=512)]
_Parameters = dict[str, str | int | float | bool]


class _Input(msgspec.Struct, frozen=True):
    name: _Name
    datatype: str
    shape: Annotated[list[_Size], msgspec.Meta(max_length=32)]
    parameters: _Parameters = {}
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct, frozen=True):
    name: _Name
    parameters: _Parameters = {}


class _Request(msgspec.Struct, frozen=True):
    inputs: list[_Input]
    id: Annotated[str, msgspec.Meta(max_length=1024)] | msgspec.UnsetType = msgspec.UNSET
    parameters: _Parameters = {}
    outputs: list[_Output] = []


@dataclass(frozen=True, slots=True)
class _Binary:
    """An input that lies in the body's tail: ``size`` bytes from ``start``."""

    spec: TensorSpec
    shape: tuple[int, ...]
    count: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One output as it was asked for."""

    spec: TensorSpec
    binary: bool
    parameters: _Parameters


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from a request's header alone."""

    binary: tuple[_Binary, ...]
    tail: int
    """How many bytes must follow the header."""
    names: tuple[str, ...]
    answers: tuple[Answer, ...]
    rows: int
    """The longest first axis of the inputs, at least 1: what the time of an inference grows with."""
    echo: dict[str, Any]
    """``id`` and ``parameters`` of the answer."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request whose every tensor has the name, type and shape that the model takes."""

    plan: Plan
    inputs: dict[str, Array]


class Codec:
    """Translates for one model revision; the kept plans live and die with it."""

    def __init__(
        self, name: str, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        self._head = {"model_name": name, "model_version": version}
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self.plans: dict[bytes, Plan] = {}

    def decode(self, body: bytes | bytearray, header_length: int | None) -> Decoded:
        """Translate a request; ``header_length`` is where the binary tail begins, None without one.

        Raises:
            InvalidRequest: anything that this model does not take, in words for the caller.
        """
        if header_length is None:
            plan, inputs = self._parse(body)
            if plan.tail:
                raise InvalidRequest("binary_data_size needs the header Inference-Header-Content-Length")
            return Decoded(plan, inputs)
        if header_length > len(body):
            raise InvalidRequest(f"Inference-Header-Content-Length is {header_length}, the body {len(body)}")
        head = bytes(body[:header_length])
        known = self.plans.get(head)
        if known is None:
            plan, inputs = self._parse(head)
            if not inputs and "id" not in plan.echo and header_length <= MAX_PLANNED_BYTES:
                self._keep(head, plan)
        else:
            plan, inputs = known, {}
        if len(body) - header_length != plan.tail:
            raise InvalidRequest(f"{len(body) - header_length} bytes follow the header, not {plan.tail}")
        for item in plan.binary:
            inputs[item.spec.name] = tensors.from_binary(
                item.spec, body, header_length + item.start, item.size, item.count, item.shape
            )
        return Decoded(plan, inputs)

    def encode(self, plan: Plan, arrays: Sequence[Array]) -> tuple[int | None, list[bytes | memoryview]]:
        """Translate outputs, in the order of ``plan.names``, to (length of the JSON header, parts).

        The length is None where every output is in the JSON.
        """
        tail: list[bytes | memoryview] = []
        outputs = []
        for answer, array in zip(plan.answers, arrays, strict=True):
            spec = answer.spec
            output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": array.shape}
            if answer.binary:
                content = tensors.to_binary(spec, array)
                tail.append(content)
                output["parameters"] = answer.parameters | {"binary_data_size": len(content)}
            else:
                if answer.parameters:
                    output["parameters"] = answer.parameters
                output["data"] = tensors.to_json(spec, array)
            outputs.append(output)
        head = orjson.dumps(self._head | plan.echo | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        return (len(head) if tail else None), [head, *tail]

    def _keep(self, head: bytes, plan: Plan) -> None:
        if len(self.plans) >= MAX_PLANS:
            del self.plans[next(iter(self.plans))]
        self.plans[head] = plan

    def _parse(self, head: bytes | bytearray) -> tuple[Plan, dict[str, Array]]:
        try:
            request = msgspec.convert(orjson.loads(head), _Request)
        except orjson.JSONDecodeError as e:
            raise InvalidRequest(f"the request is not JSON: {e}") from e
        except msgspec.ValidationError as e:
            raise InvalidRequest(str(e)) from e
        names = [item.name for item in request.inputs]
        if len(set(names)) != len(names) or set(names) != set(self._inputs):
            raise InvalidRequest(f"inputs are {sorted(self._inputs)}, each once; the request has {names}")
        binary, given, start = [], {}, 0
        for item in request.inputs:
            spec, count = self._accept(item)
            size = item.parameters.get("binary_data_size")
            if size is None:
                given[item.name] = tensors.from_json(spec, _data(item), tuple(item.shape))
                continue
            _check_size(item, spec, size, count)
            assert isinstance(size, int)
            binary.append(_Binary(spec, tuple(item.shape), count, start, size))
            start += size
        answers = self._answers(request)
        echo: dict[str, Any] = {} if request.id is msgspec.UNSET else {"id": request.id}
        parameters = {k: v for k, v in request.parameters.items() if k != "binary_data_output"}
        if parameters:
            echo["parameters"] = parameters
        rows = max((item.shape[0] for item in request.inputs if item.shape), default=1)
        asked = tuple(answer.spec.name for answer in answers)
        return Plan(tuple(binary), start, asked, answers, max(rows, 1), echo), given

    def _accept(self, item: _Input) -> tuple[TensorSpec, int]:
        spec = self._inputs[item.name]
        if item.datatype != spec.datatype:
            raise InvalidRequest(f"input {spec.name!r} has datatype {spec.datatype}, not {item.datatype!r}")
        if not spec.accepts(item.shape):
            raise InvalidRequest(f"input {spec.name!r} has shape {list(spec.shape)}, not {item.shape}")
        return spec, math.prod(item.shape)

    def _answers(self, request: _Request) -> tuple[Answer, ...]:
        by_default = _flag(request.parameters, "binary_data_output", False)
        if not request.outputs:
            return tuple(Answer(spec, by_default, {}) for spec in self._outputs.values())
        found: dict[str, Answer] = {}
        for output in request.outputs:
            spec = self._outputs.get(output.name)
            if spec is None or output.name in found:
                raise InvalidRequest(f"outputs are {sorted(self._outputs)}, each once at most")
            rest = {k: v for k, v in output.parameters.items() if k != "binary_data"}
            found[spec.name] = Answer(spec, _flag(output.parameters, "binary_data", by_default), rest)
        return tuple(found.values())


def _data(item: _Input) -> Any:
    if item.data is msgspec.UNSET:
        raise InvalidRequest(f"input {item.name!r} has neither data nor binary_data_size")
    return item.data


def _check_size(item: _Input, spec: TensorSpec, size: object, count: int) -> None:
    if item.data is not msgspec.UNSET:
        raise InvalidRequest(f"input {item.name!r} has both data and binary_data_size")
    if type(size) is not int or size < 0:
        raise InvalidRequest(f"binary_data_size of {item.name!r} is a number of bytes, not {size!r}")
    if spec.datatype != BYTES and size != count * DTYPES[spec.datatype].itemsize:
        need = count * DTYPES[spec.datatype].itemsize
        raise InvalidRequest(f"binary_data_size of {item.name!r} is {size}, its shape takes {need}")


def _flag(parameters: _Parameters, name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"parameter {name} is true or false, not {value!r}")
    return value
