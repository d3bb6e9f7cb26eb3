"""Canonical events: what was said in sessions, once, whatever package it came in."""
