"""The agent of an edge node: gets models here, has them proven, and says truthfully what runs.

It owns slots, link and want.json of every deployment and never loads a model itself: servers do, or a
one-shot process. Decisions are in ``plan``, ``verify``, ``journal`` and ``report`` (values in, values
out); the rest are thin effects. It must stay small: aiohttp and msgspec are its only libraries.
"""
