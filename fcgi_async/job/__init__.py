"""What is said: jobs, responses, and the deadlines and limits for them. Values, which stand beside the errors."""
