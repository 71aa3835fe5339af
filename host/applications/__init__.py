"""What an edge answers to whoever asks by the Open Inference Protocol: its applications, by name and by accuracy."""
