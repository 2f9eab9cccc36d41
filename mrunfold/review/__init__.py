"""Pictures for people: the preview of a run."""

from mrunfold.review.preview import Preview, draw_preview, write_preview

__all__ = ["Preview", "draw_preview", "write_preview"]
