"""Audits for look-ahead bias: later prices are replaced, and everything known before must stay the same."""

from quantlr.audits.auditor import audit

__all__ = ["audit"]
