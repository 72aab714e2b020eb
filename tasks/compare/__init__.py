"""Two runs on one page: what differs between them, and what that changed."""
