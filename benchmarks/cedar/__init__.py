"""The compiled rules beside cedarpy: the same answers, and in what time."""
