"""A search over settings: the space, what draws from it, which trials go on, and the journal that several share."""
