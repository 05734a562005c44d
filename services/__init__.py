"""Everything that would survive replacing Flask: the domain, the stores, the registry client and the use cases."""
