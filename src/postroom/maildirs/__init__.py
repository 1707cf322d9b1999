"""Maildirs on disk: their directories, folders, file names, and how full they are."""
