"""The demo: the main job of the product on real parts, as a user would see it."""
