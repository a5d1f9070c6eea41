# SPDX-License-Identifier: MIT
"""What runs a policy's three functions: PyTorch, or ONNX Runtime without PyTorch."""
