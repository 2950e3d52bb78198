"""Imports typer once, quietly: Flower imports it, and it uses a deprecated name of click."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", r"'click\.utils\.", DeprecationWarning)
    import typer

assert typer
