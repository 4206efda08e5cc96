"""ONNX files as differentiable torch networks."""
