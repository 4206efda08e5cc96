"""The science: data, networks, training, attacks, sparsity. Knows no web, no queue, no database, no environment."""
