"""Images and labels, in the formats in which their authors publish them."""
