"""evaluate-top1: right is when the largest output is the label."""

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build.evaluators.outcomes import decide, pack
from edgewright_build.passes import PassInput, PassOutput


def run(given: PassInput) -> PassOutput:
    """Return paired outcomes against the labels.

    Raises:
        StalledError: DataSetInvalid, when there are no labels or one is no class of the model.
    """
    data, baseline, artifact = decide(given)
    labels = data.labels()
    classes = data.interface.outputs[0].shape[-1]
    if classes > 0 and labels.max() >= classes:
        raise StalledError(
            Reason.DATA_SET_INVALID,
            f"data set acceptance: label {int(labels.max())} is none of the model's {classes} classes",
            remedy="Number the classes from 0, as the model does",
        )
    return pack(given, baseline == labels, artifact == labels)
