"""What acts: the only code that talks to the API server. It decides nothing."""
