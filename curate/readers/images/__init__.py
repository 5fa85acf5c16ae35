"""Images that rows name or hold: in archives, behind URLs, embedded; and texts beside image files."""
