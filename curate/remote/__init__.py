"""Images behind URLs: fetched only when the recipe has ``remote:``, once, into the store of ``curate.materialise``.

``address`` says whom we may connect to, ``request`` makes one attempt, ``retry`` says when another is worth it,
``journal`` remembers across runs, ``fetcher`` does many at once.
"""
