"""Bytes on disk: digests, files written whole or not at all, safetensors shards, names kept inside."""
