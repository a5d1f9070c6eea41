# SPDX-License-Identifier: MIT
"""The networks that propose and refine chunks of actions.

`agent` holds a base policy (`bc`, `bc_rnn`, `diffusion`, `ibc`, `residual`) and, where there is
one, the objective that the solver maximises (`objective_head`, `chunk_objective`,
`rollout_objective`).
"""
