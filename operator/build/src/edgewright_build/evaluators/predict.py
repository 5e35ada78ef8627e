"""predict: what the source model decides on the acceptance data, once for every target and metric."""

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.datasets import DataSet, batch_size, open_data_set
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import BATCH, decisions, open_session


def run(given: PassInput) -> PassOutput:
    """Return the decision of each sample as little-endian int32, one after the other.

    The model is the file that the user gave, which no pass has touched; ``ingest`` has refused what is unsound.

    Raises:
        StalledError: DataOverlap, when a calibration sample is in the acceptance data: it shaped the artifact, so it
            can't judge it. DataSetInvalid, when a set does not fit the model.
    """
    model = given.read("model")
    interface = graph.interface(graph.parse(model))
    acceptance = open_data_set(given.files["data"], interface, name="acceptance")
    calibration = open_data_set(given.files["calibration"], interface, name="calibration")
    require_disjoint(calibration, acceptance)
    batches = acceptance.batches(batch_size(interface, BATCH))
    decided = decisions(open_session(model), batches)
    facts = {"samples": len(decided), "calibrationSamples": calibration.samples, "overlap": 0}
    return PassOutput(decided.astype("<i4").tobytes(), facts)


def require_disjoint(calibration: DataSet, acceptance: DataSet) -> None:
    """Return when no sample is in both sets, compared by the hash of its inputs."""
    seen = set(calibration.sample_hashes())
    shared = [at for at, digest in enumerate(acceptance.sample_hashes()) if digest in seen]
    if shared:
        raise StalledError(
            Reason.DATA_OVERLAP,
            f"{len(shared)} of {acceptance.samples} acceptance samples are in the calibration data too "
            f"(the first is sample {shared[0]})",
            remedy="Remove them from one of the two sets",
        )
