# SPDX-License-Identifier: MIT
"""The learning side of DiffTORI: encoders, policies, the solver, training. Never imports ROS.

`contract` is what both sides agree on; `checkpoint` and `data` are files; `networks`, `policies`,
`world_model` and `solver` are what is learned and solved; `inference` plans; `training` trains.
`errors` is the base of the errors of them all.
"""
