"""The face: REST under /api/v1, and the dashboard."""
