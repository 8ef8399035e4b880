"""Those who do the same image work, each in a process of its own."""
