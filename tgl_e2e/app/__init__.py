"""A local web page: trying the network on a video, and annotating moments."""
