"""Ask a checkpoint questions, text and reviews, and add up what it answers."""
