# SPDX-License-Identifier: MIT
"""How far an observation is from those that the policy was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from difftori_models.contract.features import state_names, state_vector
from difftori_models.contract.input_statistics import summaries, summary_names
from difftori_models.contract.specs import Card, Observation

FAR = 8.0
"""Distance beyond which an entry of the state is far from the training [standard deviations]. At
the begin of episodes like those of the training up to 6 were seen."""
FAR_SEEN = 5.0
"""The same of clouds and images; 4 was the most that was seen of clouds like those of the
training, 7 with the camera moved by 3 cm across the fingers, 5 with it moved along them."""


@dataclass(frozen=True)
class Novelty:
    """Distances of one observation.

    Attributes:
        distances: Feature -> how many standard deviations it is from its mean in training. Beside
            the entries of the state vector there are those of the cloud and of the images, if the
            card knows about them.
        limits: Feature -> the distance that is far, where it is not `FAR`.
    """

    distances: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> tuple[str, float]:
        """The feature furthest away, by its limit, and how far; ("", 0.0) if none is known."""
        return next(iter(self.ordered()), ("", 0.0))

    def ordered(self) -> list[tuple[str, float]]:
        """Features and distances, the worst first."""
        return sorted(self.distances.items(), key=lambda pair: -pair[1] / self.limit(pair[0]))

    def limit(self, name: str) -> float:
        """Distance beyond which this feature is far."""
        return self.limits.get(name, FAR)

    def far(self) -> str | None:
        """The sentence that says which feature is far, and how many more are; or None."""
        found = [pair for pair in self.ordered() if pair[1] > self.limit(pair[0])]
        if not found:
            return None
        name, distance = found[0]
        more = f", and {len(found) - 1} more are as far" if len(found) > 1 else ""
        return f"{name} is {distance:.1f} standard deviations from its mean{more}"


def novelty(observation: Observation, card: Card) -> Novelty:
    """Distances of an observation from the card's normaliser.

    Raises:
        FeatureError: The observation lacks what the card asks for.
    """
    if "state" not in card.normaliser:
        return Novelty({})  # a policy without a network was trained on nothing
    spec = card.observation
    names = {"state": state_names(spec)} | summary_names(spec)
    values = {"state": state_vector(observation, spec)} | summaries(observation, spec)
    distances: dict[str, float] = {}
    for kind in names:
        if kind in card.normaliser and kind in values:
            mean, std = (np.array(card.normaliser[kind][key]) for key in ("mean", "std"))
            away = np.abs(values[kind] - mean) / std
            # NaN compares with nothing, but it is as far away as can be
            away = np.where(np.isnan(away), np.inf, away)
            distances |= dict(zip(names[kind], away.tolist(), strict=True))
    seen = [name for kind, of in names.items() if kind != "state" for name in of]
    return Novelty(distances, dict.fromkeys(seen, FAR_SEEN))


class NoveltyWatch:
    """Looks at every observation of an episode, and speaks up before anything moves.

    Attributes:
        value: Of the newest observation, for `~/status`: the largest distance and its feature.
        first: The next observation is the first one of an episode.
    """

    def __init__(self, card: Card):
        self._card = card
        self.reset()

    def reset(self) -> None:
        """A new episode begins."""
        self.value, self.first = "", True

    def look(self, observation: Observation) -> str | None:
        """The sentence when the first observation of an episode is far from the training.

        Of later ones only `value` tells: where an arm goes it may well see something new.
        """
        found = novelty(observation, self._card)
        name, distance = found.worst
        self.value = f"{distance:.1f} {name}" if name else "not known"
        first, self.first = self.first, False
        return found.far() if first else None
