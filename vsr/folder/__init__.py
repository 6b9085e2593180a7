"""Folders of stills and clips: found, made once each, and remembered in a manifest."""
