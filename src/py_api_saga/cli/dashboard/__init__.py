"""`saga dashboard`: the pages of a journal, on this machine, for whoever looks at them."""
