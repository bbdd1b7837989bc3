"""Looks over the folder of a data set and says all that is wrong with it.

The readers stop at the first fault; here the raw files are walked, and faults do not end the walk.
"""
