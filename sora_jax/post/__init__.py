"""What is done to a finished video: numpy and OpenCV, no networks."""
