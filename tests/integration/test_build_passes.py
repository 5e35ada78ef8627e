"""Every pass on a real network with real data: the same bytes twice, right results, clear refusals."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.passes import PassInput, PassOutput, load
from edgewright_build.session import open_session
from support.model_builders import (
    IMAGE,
    LOGITS,
    conv_model,
    digits,
    digits_model,
    fitted_weights,
    write_data_set,
)

VNNI, AVX2 = "X86Vnni@X86Avx2", "X86Avx2@X86Vnni"
"""Both as the other level's machine emulates them, which gives the same integers on every processor."""


class Bench:
    """Runs passes over files in a directory, each of them twice."""

    def __init__(self, root: Path) -> None:
        self.root = root
        _, calibration, acceptance = digits()
        self.calibration = write_data_set(root / "calibration.npz", calibration.images)
        self.acceptance = write_data_set(root / "acceptance.npz", acceptance.images, acceptance.labels)
        self.source = self.file("source", digits_model())
        ingested = self.run("ingest", {"source": self.source})
        self.ingested = self.keep(ingested)
        canonical = self.run("canonicalize", {"model": self.ingested})
        self.base = self.keep(self.run("infer-shapes", {"model": self.keep(canonical)}))

    def file(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.write_bytes(data)
        return path

    def keep(self, output: PassOutput) -> Path:
        return self.file(f"kept-{len(list(self.root.iterdir()))}", output.data)

    def run(self, name: str, files: Mapping[str, Path], isa: str = "", **options: Any) -> PassOutput:
        given = PassInput(files, options, isa)
        first, second = load(name)(given), load(name)(given)
        assert first.data == second.data, f"{name} gives other bytes the second time"
        assert first.facts == second.facts
        return first

    def ranges(self, method: str = "MinMax", data: Path | None = None) -> Path:
        files = {"model": self.base, "data": data or self.calibration}
        return self.keep(self.run("calibrate", files, method=method, maxSamples=512))

    def static(self, *, reduce: bool) -> Path:
        files = {"model": self.base, "ranges": self.ranges()}
        quantized = self.run("quantize-static", files, perChannel=True, reduceRange=reduce)
        return self.keep(self.run("optimize-graph", {"model": self.keep(quantized)}, level="Basic"))

    def dynamic(self, *, reduce: bool) -> Path:
        return self.keep(self.run("quantize-dynamic", {"model": self.base}, reduceRange=reduce))

    def float(self) -> Path:
        return self.keep(self.run("optimize-graph", {"model": self.base}, level="Extended"))

    def top1(self, model: Path, isa: str = AVX2) -> PassOutput:
        files = {
            "model": self.source,
            "checked": self.ingested,
            "data": self.acceptance,
            "calibration": self.calibration,
        }
        predictions = self.keep(self.run("predict", files))
        return self.run(
            "evaluate-top1", {"baseline": predictions, "model": model, "data": self.acceptance}, isa
        )

    def safety(self, model: Path, source: Path | None = None) -> Mapping[str, Any]:
        files = {"baseline": source or self.source, "model": model, "data": self.acceptance}
        return self.run("check-safety", files, VNNI).facts


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def outputs(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run([LOGITS], {IMAGE: images})[0]
    return found


def test_float_passes_compute_what_the_source_computes(bench: Bench) -> None:
    images = digits()[2].images
    expected = outputs(digits_model(), images)
    for model in (bench.base, bench.float()):
        assert np.allclose(outputs(model.read_bytes(), images), expected, atol=1e-4)


def test_canonical_form_forgets_names_and_comments(bench: Bench) -> None:
    other = conv_model(fitted_weights(), names="other/")
    other.doc_string, other.producer_name = "made at night", "someone"
    unused = helper.make_tensor("unused", TensorProto.FLOAT, [1], [1.0])
    other.graph.initializer.append(unused)
    model = bench.keep(bench.run("ingest", {"source": bench.file("other", other.SerializeToString())}))
    canonical = bench.keep(bench.run("canonicalize", {"model": model}))
    assert bench.run("infer-shapes", {"model": canonical}).data == bench.base.read_bytes()


def test_canonicalizing_twice_changes_nothing(bench: Bench) -> None:
    ingested = bench.keep(bench.run("ingest", {"source": bench.source}))
    once = bench.keep(bench.run("canonicalize", {"model": ingested}))
    assert bench.run("canonicalize", {"model": once}).data == once.read_bytes()
    shaped = bench.run("infer-shapes", {"model": bench.base})
    assert shaped.data == bench.base.read_bytes()


def test_an_old_opset_is_raised(bench: Bench) -> None:
    source = bench.file("old", digits_model(opset=11))
    output = bench.run("ingest", {"source": source})
    assert (output.facts["opsetBefore"], output.facts["opset"]) == (11, 13)
    images = digits()[2].images[:20]
    assert np.allclose(outputs(output.data, images), outputs(digits_model(), images), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda b: b.dynamic(reduce=True), 1, id="dynamic-r7"),
        pytest.param(lambda b: b.dynamic(reduce=False), 1, id="dynamic"),
        pytest.param(lambda b: b.static(reduce=True), 3, id="static-r7"),
        pytest.param(lambda b: b.static(reduce=False), 3, id="static"),
    ],
)
def test_quantized_models_are_smaller_and_nearly_as_good(
    bench: Bench, make: Callable[[Bench], Path], words: int
) -> None:
    model = make(bench)
    facts = bench.top1(model, VNNI).facts
    assert model.stat().st_size < bench.base.stat().st_size * 0.75
    assert facts["baselineRight"] - facts["artifactRight"] <= 6
    safety = bench.safety(model)
    assert safety["integerProducts"] == words


def test_fused_operators_are_counted_as_a_node_runs_them(bench: Bench) -> None:
    facts = bench.run("optimize-graph", {"model": bench.base}, level="Extended").facts
    assert facts["operatorsRunning"]["com.microsoft.FusedConv"] == 2
    assert facts["fusedOperators"] == 2


def test_a_level_that_binds_to_this_processor_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="binds"):
        bench.run("optimize-graph", {"model": bench.base}, level="All")


def test_calibration_changes_with_one_sample_and_not_with_batches(bench: Bench) -> None:
    images = digits()[1].images.copy()
    before = json.loads(bench.ranges().read_bytes())["ranges"]
    images[-1] = 3.0
    after = json.loads(bench.ranges(data=write_data_set(bench.root / "other.npz", images)).read_bytes())[
        "ranges"
    ]
    assert before[IMAGE] == [0.0, 1.0]
    assert after[IMAGE] == [0.0, 3.0]
    session = ort.InferenceSession(bench.base.read_bytes(), providers=["CPUExecutionProvider"])
    whole = session.run([LOGITS], {IMAGE: digits()[1].images})[0]
    assert np.allclose(before[LOGITS], [whole.min(), whole.max()], atol=1e-4)


def test_percentile_ranges_lie_inside_the_whole_ranges(bench: Bench) -> None:
    whole = json.loads(bench.ranges().read_bytes())["ranges"]
    clipped = json.loads(bench.ranges("Percentile").read_bytes())["ranges"]
    assert set(whole) == set(clipped)
    assert all(whole[n][0] <= clipped[n][0] and clipped[n][1] <= whole[n][1] for n in whole)


def test_full_range_weights_are_not_judged_for_avx2_on_other_kernels(bench: Bench) -> None:
    model = bench.static(reduce=False)
    with pytest.raises(StalledError) as caught:
        bench.top1(model, AVX2)
    assert caught.value.reason is Reason.SATURATION_RISK
    reduced = bench.static(reduce=True)
    assert bench.top1(reduced, AVX2).facts["evidence"] == "Emulated"


def test_exact_products_are_the_same_with_and_without_vnni(bench: Bench) -> None:
    """7-bit weights give the exact integers on this processor's own kernels, whichever it has."""
    model = bench.static(reduce=True).read_bytes()
    images = digits()[2].images
    plain = open_session(model).run(None, {IMAGE: images})[0]
    exact = open_session(model, exact=True).run(None, {IMAGE: images})[0]
    assert np.array_equal(plain, exact)


@pytest.mark.parametrize(
    "drill", ["plant-wrong-zero-point", "plant-transposed-weights", "plant-dropped-bias"]
)
@pytest.mark.parametrize("kind", ["static", "dynamic", "float"])
def test_faults_cost_accuracy_and_the_golden_vectors_refuse_them(bench: Bench, drill: str, kind: str) -> None:
    sound = bench.float() if kind == "float" else getattr(bench, kind)(reduce=True)
    if (drill, kind) == ("plant-wrong-zero-point", "float"):
        with pytest.raises(StalledError) as caught:
            bench.run(drill, {"model": sound})
        assert caught.value.reason is Reason.FAULT_NOT_APPLICABLE
        return
    damaged = bench.keep(bench.run(drill, {"model": sound}))
    facts = bench.top1(damaged).facts
    assert facts["baselineRight"] - facts["artifactRight"] > 600 * 0.10
    files = {"baseline": bench.source, "data": bench.calibration}
    good = bench.run("golden", files | {"model": sound}, AVX2, samples=16, maxDisagreements=1, maxNrmse=0.35)
    bad = bench.run("golden", files | {"model": damaged}, AVX2, samples=16, maxDisagreements=1, maxNrmse=0.35)
    assert (good.facts["withinPolicy"], bad.facts["withinPolicy"]) == (True, False)


def test_golden_file_is_what_a_node_expects(bench: Bench) -> None:
    files = {"baseline": bench.source, "model": bench.static(reduce=True), "data": bench.calibration}
    output = bench.run("golden", files, AVX2, samples=16, maxDisagreements=1, maxNrmse=0.35)
    with np.load(bench.file("golden.npz", output.data), allow_pickle=False) as golden:
        assert sorted(golden.files) == ["artifact:logits", "input:image", "policy", "source:logits"]
        assert golden["input:image"].shape == (16, 1, 8, 8)
        policy = json.loads(golden["policy"][()])
        assert policy["output"] == LOGITS
        again = outputs(files["model"].read_bytes(), golden["input:image"])
        limit = policy["artifactAtol"] + policy["artifactRtol"] * np.abs(golden["artifact:logits"])
        assert (np.abs(again - golden["artifact:logits"]) <= limit).all()


def test_safety_sees_nan_and_dead_outputs(bench: Bench) -> None:
    weights = fitted_weights()
    dead = conv_model(weights | {"w3": weights["w3"] * 0})
    broken = conv_model(weights | {"b3": weights["b3"] * np.float32("nan")})
    for model, not_finite, constant in ((dead, 0, True), (broken, 600, False)):
        path = bench.file("unsafe", model.SerializeToString())
        facts = bench.safety(path)
        assert (facts["notFinite"], facts["constant"]) == (not_finite, constant)


def test_shared_samples_are_found(bench: Bench) -> None:
    images = np.concatenate([digits()[1].images, digits()[2].images[5:6]])
    shared = write_data_set(bench.root / "shared.npz", images)
    with pytest.raises(StalledError, match="sample 5") as caught:
        bench.run("predict", {"model": bench.base, "data": bench.acceptance, "calibration": shared})
    assert caught.value.reason is Reason.DATA_OVERLAP


def with_second_output(b3: float, gain: float) -> bytes:
    """Return the digits model with another output, its logits times ``gain`` plus ``b3``."""
    model = conv_model(fitted_weights())
    model.graph.initializer.extend(
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("g", gain), ("s", b3))
    )
    model.graph.node.extend(
        [
            helper.make_node("Mul", [LOGITS, "g"], ["scaled"]),
            helper.make_node("Add", ["scaled", "s"], ["second"]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 10]))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("source", "artifact", "expected"),
    [
        pytest.param((0, 1), (float("nan"), 1), (600, False), id="nan"),
        pytest.param((0, 1), (1, 0), (0, True), id="dead"),
        pytest.param((1, 0), (1, 0), (0, False), id="constant-in-the-source-too"),
        pytest.param((0, 1), (0, 1), (0, False), id="sound"),
    ],
)
def test_safety_looks_at_every_output(
    bench: Bench, source: tuple[float, float], artifact: tuple[float, float], expected: tuple[int, bool]
) -> None:
    facts = bench.safety(
        bench.file("artifact", with_second_output(*artifact)),
        bench.file("with-two", with_second_output(*source)),
    )
    assert (facts["notFinite"], facts["constant"]) == expected


def external(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model


def foreign(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[1].domain, model.graph.node[1].op_type = "com.example", "Magic"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    return model


def with_function(model: onnx.ModelProto) -> onnx.ModelProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(
        helper.make_function("local", "Mine", ["x"], ["y"], [node], [helper.make_opsetid("", 17)])
    )
    return model


def fixed_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    return model


def unconnected(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[0].input[0] = "nowhere"
    return model


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (external, Reason.MODEL_INVALID, "another file"),
        (foreign, Reason.OPERATOR_NOT_SUPPORTED, "com.example.Magic"),
        (with_function, Reason.OPERATOR_NOT_SUPPORTED, "local.Mine"),
        (fixed_batch, Reason.MODEL_INVALID, "first dimension"),
        (unconnected, Reason.MODEL_INVALID, "ONNX rules"),
    ],
)
def test_ingest_refuses_by_name(
    bench: Bench, change: Callable[[onnx.ModelProto], onnx.ModelProto], reason: Reason, words: str
) -> None:
    model = change(conv_model(fitted_weights()))
    with pytest.raises(StalledError, match=words) as caught:
        bench.run("ingest", {"source": bench.file("bad", model.SerializeToString())})
    assert caught.value.reason is reason


def test_ingest_holds_the_declared_interface(bench: Bench) -> None:
    found = bench.run("ingest", {"source": bench.source}).facts["interface"]
    bench.run("ingest", {"source": bench.source}, interface=found)
    wrong = json.loads(json.dumps(found))
    wrong["inputs"][0]["name"] = "picture"
    with pytest.raises(StalledError, match="picture") as caught:
        bench.run("ingest", {"source": bench.source}, interface=wrong)
    assert caught.value.reason is Reason.INTERFACE_MISMATCH
