"""A sense of touch that robots can compute with: visuo-tactile sensors, encoders and policies on ROS 2."""
