"""`edgesight bench photograph`: a back end that takes the photograph, thresholds for a site, and strange pictures."""
