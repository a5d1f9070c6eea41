# SPDX-License-Identifier: MIT
"""The latent world model of TD-MPC, and trajectory optimisation through it."""
