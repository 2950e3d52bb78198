"""Rounds as a service: a SuperLink that devices join over TLS with keys of their own."""
