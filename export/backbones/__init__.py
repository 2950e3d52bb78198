"""Backbones: networks that turn an input into features."""
