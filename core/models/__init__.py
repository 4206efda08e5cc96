"""Networks: pixels in [0, 1] in, logits out."""
