"""Values: jobs, responses, and their deadlines and limits."""
