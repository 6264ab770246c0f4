"""The released datasets as they are downloaded: their layouts (layouts.py), found in folders and
archives (trees.py) and checked (checks.py)."""
