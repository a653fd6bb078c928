"""What a network learns from, and how; `headrest.fit` puts it together."""
