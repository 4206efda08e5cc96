"""What outlives a process: Postgres, Redis, files. Where api and worker meet."""
