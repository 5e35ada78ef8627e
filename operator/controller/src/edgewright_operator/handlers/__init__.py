"""The only code that imports Kopf. A handler applies an event to the cache and marks keys dirty, no more."""
