"""Images behind URLs: fetched only when the recipe has ``remote:``, once, into ``curate.readers.images``'s store.

``address`` says whom we may connect to, ``request`` makes one attempt, ``retry`` says when another is worth it,
``journal`` remembers across runs, ``fetcher`` does many at once.
"""
