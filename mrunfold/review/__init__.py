"""Pictures for people: the preview of a run."""

from mrunfold.review.preview import STD_PANEL, Preview, draw_preview, write_preview

__all__ = ["STD_PANEL", "Preview", "draw_preview", "write_preview"]
