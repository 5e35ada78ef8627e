"""What the lab raises on purpose."""


class LabError(Exception):
    """Something of the lab failed; the message says what, and shows the log's tail where there is one."""
