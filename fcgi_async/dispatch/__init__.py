"""Jobs: what they are, where they wait, how they are run, and what comes back."""
