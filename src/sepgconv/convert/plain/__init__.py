"""Networks of the library as networks of ordinary layers, and as files of them."""
