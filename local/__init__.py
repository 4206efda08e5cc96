"""One command on one machine: Postgres and Valkey as children of the launcher, for whoever has none of their own."""
