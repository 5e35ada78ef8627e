"""Every reason that a condition or a verdict can carry. Each has a heading in docs/errors.md."""

from enum import StrEnum


class Reason(StrEnum):
    """Stable CamelCase constants: they are API, so one is never renamed."""

    # Everything is as asked.
    COMPLETE = "Complete"
    ACCEPTED = "Accepted"
    # Work in hand.
    BUILDING = "Building"
    ROLLING_OUT = "RollingOut"
    # All that may be done now is done.
    NODES_OFFLINE = "NodesOffline"
    NO_MATCHING_NODES = "NoMatchingNodes"
    # A reference is missing: it may still arrive.
    MODEL_NOT_FOUND = "ModelNotFound"
    TARGET_NOT_FOUND = "TargetNotFound"
    SOURCE_NOT_READABLE = "SourceNotReadable"
    REVISION_NOT_READY = "RevisionNotReady"
    # The user's input is refused.
    SPEC_INVALID = "SpecInvalid"
    VERSION_CONTENT_CHANGED = "VersionContentChanged"
    FORMAT_NOT_SUPPORTED = "FormatNotSupported"
    MODEL_INVALID = "ModelInvalid"
    OPERATOR_NOT_SUPPORTED = "OperatorNotSupported"
    INTERFACE_MISMATCH = "InterfaceMismatch"
    DATA_SET_INVALID = "DataSetInvalid"
    DATA_OVERLAP = "DataOverlap"
    # A requirement is not met, or not shown to be met.
    ACCURACY_DROP_TOO_LARGE = "AccuracyDropTooLarge"
    UNDERPOWERED = "Underpowered"
    NOT_MEASURED = "NotMeasured"
    SLOWER_THAN_BASELINE = "SlowerThanBaseline"
    LATENCY_UNPROVEN = "LatencyUnproven"
    LATENCY_BUDGET_EXCEEDED = "LatencyBudgetExceeded"
    SIZE_BUDGET_EXCEEDED = "SizeBudgetExceeded"
    EVIDENCE_TOO_WEAK = "EvidenceTooWeak"
    SATURATION_RISK = "SaturationRisk"
    NUMERICALLY_UNSAFE = "NumericallyUnsafe"
    GOLDEN_SOURCE_MISMATCH = "GoldenSourceMismatch"
    NO_CANDIDATE = "NoCandidate"
    REQUIRED_TARGET_REJECTED = "RequiredTargetRejected"
    # Building or publishing went wrong.
    FAULT_NOT_APPLICABLE = "FaultNotApplicable"
    PASS_FAILED = "PassFailed"  # noqa: S105 - a pass of the pipeline, no password
    TOOLCHAIN_MISMATCH = "ToolchainMismatch"
    BUILDER_FAILED = "BuilderFailed"
    BUILDER_REPORT_INVALID = "BuilderReportInvalid"
    STORE_UNAVAILABLE = "StoreUnavailable"
    API_SERVER_UNAVAILABLE = "ApiServerUnavailable"
    # On nodes.
    SERVED_NAME_TAKEN = "ServedNameTaken"
    NO_VARIANT_FITS = "NoVariantFits"
    NODE_FAILED = "NodeFailed"
    NODE_HEARD = "NodeHeard"
    NODE_SILENT = "NodeSilent"
