"""What the stages of a compression cost and are worth, as a table and a picture."""

from sft_keras.reports.report import Report, report

__all__ = ["Report", "report"]
