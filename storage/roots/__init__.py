"""
Keep roots where they can really be forgotten.

    roots = open_root_store("keyring:shop")
    roots.put(ObjectClass.UPLOAD, 1, secret, timedelta(hours=1))

A root store promises two things: a destroyed root does not come back, and a root that nobody renews dies by itself.
How well it keeps them differs, so each declares its `bound`. A further one is one file that fulfils `RootStore` and
passes the conformance suite of the tests.
"""

from __future__ import annotations

from storage.roots.protocol import ALLOWED_ADDRESSES, RootStore, open_root_store

__all__ = ["ALLOWED_ADDRESSES", "RootStore", "open_root_store"]
