# SPDX-License-Identifier: MIT
"""The error with which a checkpoint is refused."""

from difftori_models.errors import LearningError


class CheckpointError(LearningError, ValueError):
    """A checkpoint cannot be used; the message is one sentence that says why."""


def require(holds: bool, sentence: str) -> None:
    """Pass silently where the condition holds.

    Raises:
        CheckpointError: It does not hold; the message is the sentence.
    """
    if not holds:
        raise CheckpointError(sentence)
