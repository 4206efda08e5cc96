"""Methods that train a sparse network, each as an optimiser."""
