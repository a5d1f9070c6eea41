from __future__ import annotations
def push_t(sim): raise NotImplementedError
