# SPDX-License-Identifier: MIT
"""A policy's three functions as ONNX models."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from difftori_models.contract.features import blank_images, blank_points
from difftori_models.contract.strict_json import dumps
from difftori_models.inference.backends.manifest import image_input
from difftori_models.policies.load import LoadedPolicy
from difftori_models.policies.plan_functions import Deployed
from difftori_models.solver.method import State
from difftori_models.solver.tracing import trace

OPSET = 18
"""Version of the ONNX operators."""


def onnx_graphs(policy: LoadedPolicy) -> dict[str, bytes]:
    """The graphs by name.

    `propose` gives `base`, `rows`, the `context_*` and the state: `iterate`, `value`, `moved`,
    `memory_*`; where the base policy remembers, it takes `memory` and gives `memory_next`; where
    it draws, it takes `noise`. `step` takes context, state and `row`, and gives every state tensor
    as `*_next`.
    """
    card, agent = policy.card, policy.agent
    inputs = {"state": torch.zeros(1, agent.network.state)}
    points = blank_points(card.observation)
    if points is not None:
        inputs["points"] = torch.from_numpy(points)
    cameras = [image_input(name) for name in card.observation.images]
    blank_ones = map(torch.from_numpy, blank_images(card.observation))
    inputs |= dict(zip(cameras, blank_ones, strict=True))
    text = dumps(card)
    base = agent.base
    if base.noise != (0,):
        inputs["noise"] = torch.zeros(1, *base.noise)
    if base.memory:
        inputs["memory"] = torch.zeros(1, base.memory)
    kept = ["memory_next"] if base.memory else []
    if agent.head is None:

        def propose_alone(*given: Tensor) -> list[Tensor]:
            by_name = dict(zip(inputs, given, strict=True))
            images = tuple(by_name[name] for name in cameras)
            seen = agent.inputs(by_name["state"], by_name.get("points"), images)
            found = agent.propose_step(seen, by_name.get("noise"), by_name.get("memory"))
            return [agent.normaliser.from_unit(found.actions), found.memory][: 1 + len(kept)]

        return {"propose": _onnx(propose_alone, inputs, ["base", *kept], text)}

    deployed = Deployed(agent, portable=True)
    shape = (1, card.action.horizon, len(card.action.names))
    blank = torch.zeros(1, deployed.latent), torch.full(shape, torch.nan)
    if deployed.latent:
        inputs["latent"] = blank[0]
    if card.solver.start == "previous":
        inputs["previous"] = torch.zeros(shape)

    def propose(*given: Tensor) -> list[Tensor]:
        by_name = dict(zip(inputs, given, strict=True))
        proposal = deployed.propose(
            by_name["state"],
            by_name.get("points"),
            tuple(by_name[name] for name in cameras),
            by_name.get("latent", blank[0]),
            by_name.get("previous", blank[1]),
            by_name.get("noise"),
            by_name.get("memory"),
        )
        solve = tree_flatten((proposal.context, proposal.state))[0]
        return [proposal.base, proposal.rows, *solve, *([proposal.memory] if kept else [])]

    with torch.no_grad():
        example = deployed.propose(
            inputs["state"],
            inputs.get("points"),
            tuple(inputs[name] for name in cameras),
            inputs.get("latent", blank[0]),
            blank[1],
        )
    context = tuple(f"context_{k}" for k in range(len(example.context)))
    state = ("iterate", "value", "moved", *(f"memory_{k}" for k in range(len(example.state[3]))))
    split = len(context)

    def unpacked(given: Sequence[Tensor]) -> State:
        return State(given[0], given[1], given[2], tuple(given[3:]))

    def step(*given: Tensor) -> list[Tensor]:
        after = deployed.step(given[:split], unpacked(given[split:-1]), given[-1])
        return tree_flatten(after)[0]

    def finish(*given: Tensor) -> list[Tensor]:
        first, before = given[split], given[split + 1]
        return list(deployed.finish(given[:split], first, before, unpacked(given[split + 2 :])))

    known = dict(zip(context, example.context, strict=True))
    carried = dict(zip(state, tree_flatten(example.state)[0], strict=True))
    ends = {"first": example.state.actions, "before": torch.zeros_like(example.state.objective)}
    return {
        "propose": _onnx(propose, inputs, ["base", "rows", *context, *state, *kept], text),
        "step": _onnx(
            step,
            {**known, **carried, "row": example.rows[0]},
            [f"{name}_next" for name in state],
            text,
        ),
        "finish": _onnx(
            finish,
            {**known, **ends, **carried},
            ["actions", "objective_before", "objective_after", "finite"],
            text,
        ),
    }


def _onnx(
    function: Callable[..., Sequence[Tensor]],
    inputs: dict[str, Tensor],
    outputs: list[str],
    card: str,
) -> bytes:
    """`function` as an ONNX model of static shapes that carries the card in its metadata."""
    # Copies: the exporter too takes two inputs that are one tensor for one.
    examples = tuple(example.clone() for example in inputs.values())
    graph = trace(function, *examples)
    # The exporter tells of optional packages and of its own deprecations.
    for name in ("torch.onnx", "onnx_ir", "onnxscript"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            examples,
            input_names=list(inputs),
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "card", card
    return model.SerializeToString()
