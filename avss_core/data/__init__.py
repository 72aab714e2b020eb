"""Where data comes from: sources, schemas, public sets, texts, prepared rows, lineage."""
