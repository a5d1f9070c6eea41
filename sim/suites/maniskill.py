from __future__ import annotations
def own_task(name): return None
