"""One video at a time: the network itself keeps no state."""
