"""A service under traffic: the service, its visitors, and the picture of a run."""
