"""What we are measured against, written the way its documentation shows."""
