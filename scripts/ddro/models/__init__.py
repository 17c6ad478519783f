"""T5 models: built, extended, loaded, saved, fetched from the hub, exported."""
