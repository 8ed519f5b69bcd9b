"""Scene in, frames out: one file per renderer."""
