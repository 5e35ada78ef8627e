"""Builds, evaluates and packs one model for each target. Runs in a Job or by hand; holds no key and no permission."""
