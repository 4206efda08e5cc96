"""Networks that Sparring did not train: from Python, from weights, from ONNX; and what is checked before they are judged."""
