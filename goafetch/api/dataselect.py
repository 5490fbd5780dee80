"""The tutorial's ``dataselect``: choose files by tags and expressions."""

from __future__ import annotations

from reducer.select import BadExpression, Node, expr_parser, select_data

__all__ = ["BadExpression", "Node", "expr_parser", "select_data"]
