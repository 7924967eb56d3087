"""What an endpoint with known durations can take before its clients time out."""
