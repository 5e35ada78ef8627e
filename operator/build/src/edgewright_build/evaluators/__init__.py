"""The evaluators: passes of the Evaluate step. They see the acceptance data and make no artifact."""
