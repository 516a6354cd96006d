"""Load, decide, append: the directory, endpoints, deliveries and answers."""

from services.partners.handlers.directory import seed

__all__ = ["seed"]
