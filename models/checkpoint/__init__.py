# SPDX-License-Identifier: MIT
"""Checkpoints on disk: a card and tensors, read strictly, never unpickled."""
