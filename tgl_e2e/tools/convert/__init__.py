"""From the files that data sets are published as to the layouts that the readers want."""
