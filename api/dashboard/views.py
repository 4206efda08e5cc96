"""Placeholder router; replaced below."""

from pathlib import Path

from fastapi import APIRouter

router = APIRouter()
STATIC = Path(__file__).parent / "static"
