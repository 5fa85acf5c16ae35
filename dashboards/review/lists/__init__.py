"""The lists that can be reviewed: each a function of the catalog and URL parameters that gives ``Entries``.

The order of each list is total and depends on the data alone, so that a row has one place as long as nobody changes it.
"""
