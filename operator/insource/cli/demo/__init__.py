"""`insource demo`: the whole path in a minute, each claim checked, nothing simulated that is not named as such."""
